"""Under strict type checking, misspelt events, wrong arguments and wrong overrides are errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

# Where `make check` has not been run before, mypy reads all of torch first.
pytestmark = pytest.mark.timeout(600)

# Lines that must be refused end with the code of mypy's error; all others must pass.
PROGRAM = """
from __future__ import annotations

from typing import Any

from torch import Tensor

from trackside.callbacks import EarlyStopping
from trackside.callbacks import EarlyStoping  # error: attr-defined
from trackside import Callback, Evaluation, Outcome, PeriodicCallback, Run, Trainer, event, on
from trackside.dialects import dream_trainer
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.dispatch import Dispatcher


class MyRun(Run):
    pictures: list[str]


class Painting(Callback[Run]):
    @event
    def on_painted(self, run: Run, colour: str, *, size: int = 1) -> None: ...


class Right(Callback[MyRun]):
    def on_step_end(self, run: MyRun) -> None:
        run.pictures.append("x")

    def on_close(self, run: MyRun, outcome: Outcome) -> None: ...

    def on_batch_start(self, run: MyRun, batch: Any) -> Any: ...


class Dreaming(dream_trainer.Callback[dream_trainer.BaseTrainer]):
    def post_epoch(self) -> None:
        models = self.trainer.named_models()
        epoch: int = self.trainer.current_epoch
        self.trainer.named_metrics()  # error: attr-defined


class Measuring(dream_trainer.Callback[dream_trainer.EvalMetricMixin]):
    def post_epoch(self) -> None:
        self.trainer.named_metrics()


class AnyRun(Callback):
    def on_step_end(self, run: Run) -> None: ...


class WrongArguments(Callback[Run]):
    def on_step_end(self, run: Run, extra: int) -> None: ...  # error: override

    def on_close(self, run: Run) -> None: ...  # error: override

    def on_backward_start(self, run: Run, loss: str) -> None: ...  # error: override


class WrongRun(Callback[Run]):
    def on_step_end(self, run: MyRun) -> None: ...  # error: override


class NoPictures(Callback[Run]):
    def on_step_end(self, run: Run) -> None:
        run.pictures.append("x")  # error: attr-defined


def fire(events: Dispatcher, run: Run, evaluation: Evaluation, loss: Tensor) -> None:
    events.fire(Callback.on_step_end)
    events.fire(Callback.on_backward_start, loss)
    events.fire(Callback.on_evaluation_start, evaluation)
    events.fire(Callback.on_step_ends)  # error: attr-defined
    events.fire(Callback.on_step_end, 3)  # error: arg-type
    events.fire(Callback.on_backward_start)  # error: arg-type
    events.fire(Callback.on_backward_start, "loss")  # error: arg-type
    events.fire(Callback.on_evaluation_start, evaluation, 3)  # error: arg-type
    run.emit(Painting.on_painted, "red")
    run.emit(Painting.on_painted, "red", size=2)
    run.emit(Painting.on_painted, 3)  # error: arg-type
    run.emit(Painting.on_painted, "red", width=2)  # error: call-arg
    run.emit(Painting.on_paint)  # error: attr-defined


def look_up(callbacks: CallbackCollection) -> None:
    right: Right = callbacks[Right]
    wrong: Right = callbacks[Painting]  # error: assignment


@on(Callback.on_step_end, every="100 steps")
def say(run: Run) -> None: ...


@on(Callback.on_close)
def bye(run: Run, outcome: Outcome) -> None: ...


@on(Callback.on_step_end)  # error: arg-type
def too_many(run: Run, extra: int) -> None: ...


class Beat(PeriodicCallback):
    def on_due(self, run: Run) -> None: ...


class WrongBeat(PeriodicCallback):
    def on_due(self, run: Run, step: int) -> None: ...  # error: override


class OfAnotherFramework:
    def on_epoch_end(self, epoch: int) -> None: ...


Trainer(callbacks=[Beat("1 step"), OfAnotherFramework()])
Trainer(callbacks={"beat": Beat("1 step"), "other": OfAnotherFramework(), "progress": None})
Trainer(callbacks=OfAnotherFramework())  # error: arg-type
EarlyStopping("val/loss", patience=3)
EarlyStopping("val/loss", patience="3")  # error: arg-type
EarlyStopping("val/loss", patients=3)  # error: call-arg
"""


@pytest.fixture(scope="module")
def verdict(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, set[str]]:
    """Codes of the errors that mypy finds, by line."""
    file = tmp_path_factory.mktemp("typing") / "program.py"
    file.write_text(PROGRAM)
    settings = str(repository / "pyproject.toml")
    cache = str(repository / ".mypy_cache")
    # The very options of `make check`, so that what it has found out about torch is known.
    options = ["--config-file", settings, "--cache-dir", cache]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository)
        out, err, _ = api.run([*options, str(file)])
    assert not err, err
    found: dict[int, set[str]] = {}
    for line in out.splitlines():
        if match := re.search(r"program\.py:(\d+): error: .*\[([\w-]+)\]$", line):
            found.setdefault(int(match[1]), set()).add(match[2])
    return found


def expected() -> dict[int, set[str]]:
    return {
        number: {line.partition("# error: ")[2]}
        for number, line in enumerate(PROGRAM.splitlines(), 1)
        if "# error: " in line
    }


def test_what_is_right_passes(verdict: dict[int, set[str]]) -> None:
    assert {line: codes for line, codes in verdict.items() if line not in expected()} == {}


@pytest.mark.parametrize(
    "line", expected(), ids=lambda line: PROGRAM.splitlines()[line - 1].strip()[:60]
)
def test_what_is_wrong_is_refused(line: int, verdict: dict[int, set[str]]) -> None:
    assert verdict.get(line) == expected()[line]
