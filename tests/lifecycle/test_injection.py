"""Callbacks whose constructor takes parts of a run are made when the run knows these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from trackside import Callback, Run, Settings
from trackside.callbacks import Checkpoint
from trackside.config import load
from trackside.errors import RegistrationError
from trackside.testing import tiny_regression


class Watching(Callback):
    """Takes the model, and an option."""

    made: list[Watching] = []

    def __init__(self, model: nn.Module, run: Run, scale: float = 1.0) -> None:
        self.model, self.run, self.scale = model, run, scale
        self.heard: list[str] = []
        self.made.append(self)

    def on_attach(self, run: Run) -> None:
        self.heard.append("attach")

    def on_setup_start(self, run: Run) -> None:
        self.heard.append("setup")

    def on_fit_start(self, run: Run) -> None:
        self.heard.append("fit")

    def on_close(self, run: Run, outcome: Any) -> None:
        self.heard.append("close")

    def state_dict(self) -> dict[str, Any]:
        return {"count": len(self.heard)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.heard.append(f"loaded {state['count']}")


class NeedsMore(Callback):
    def __init__(self, model: nn.Module, rate: float) -> None:
        self.rate = rate


@pytest.fixture(autouse=True)
def forgotten() -> None:
    Watching.made.clear()


def test_a_class_is_made_with_the_parts_of_the_run_that_its_constructor_names() -> None:
    task = tiny_regression()
    trainer = task.trainer(callbacks=[Watching])
    trainer.fit(task.train, epochs=1)

    [watching] = Watching.made
    assert watching.model is task.model
    assert watching.run.progress.steps_completed == 3
    assert trainer.callbacks["watching"] is watching
    assert watching.heard == ["attach", "setup", "fit", "close"]


def test_each_run_has_one_of_its_own() -> None:
    task = tiny_regression()
    trainer = task.trainer(callbacks=[Watching])
    trainer.fit(task.train, epochs=1)
    trainer.evaluate(task.validation)

    first, second = Watching.made
    assert trainer.callbacks["watching"] is second
    assert (first.heard[-1], second.heard) == ("close", ["attach", "setup", "close"])


def test_its_state_comes_back_in_a_resumed_run(tmp_path: Any) -> None:
    def fit(**options: Any) -> None:
        task = tiny_regression()
        trainer = task.trainer(
            callbacks=[Watching, Checkpoint("1 epoch")], settings=Settings(directory=tmp_path)
        )
        trainer.fit(task.train, **options)

    fit(epochs=1)
    fit(epochs=2, resume="auto")

    assert "loaded 3" in Watching.made[1].heard


def test_a_class_that_needs_more_than_parts_of_a_run_is_refused() -> None:
    with pytest.raises(RegistrationError, match="is a class, not a callback"):
        tiny_regression().trainer(callbacks=[NeedsMore])


FILE = """
data: {train: {kind: trackside.testing.tiny_rows}}
model: {kind: Linear, in_features: 2, out_features: 1}
loss: mse
optimizer: {kind: sgd, lr: 0.1}
trainer: {epochs: 1, defaults: false, device: cpu}
callbacks:
  watching: {kind: tests.lifecycle.test_injection.Watching, scale: 3}
"""


def test_a_file_gives_the_options_and_the_run_the_parts() -> None:
    Path("run.yaml").write_text(FILE)
    trainer = load("run.yaml").run("run").trainer

    watching = trainer.callbacks["watching"]
    assert (watching.scale, watching.heard[:3]) == (3.0, ["attach", "setup", "fit"])
    assert watching.model is trainer.models["model"]
