"""A run that a signal ends at any step, in any hook, goes on to the same end when it is resumed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from torch.optim.lr_scheduler import StepLR

from trackside import Callback, History, Settings, Trainer
from trackside.callbacks import Checkpoint
from trackside.errors import Interrupted
from trackside.lifecycle.hooks import HOOKS
from trackside.testing import Task, tiny_regression

STEPS, EPOCHS = 3, 4
FIT: dict[str, dict[str, Any]] = {
    "epochs": {"epochs": EPOCHS},
    "epochs, and evaluations within": {"epochs": EPOCHS, "evaluate_every": "1 step"},
    "steps": {"steps": STEPS * EPOCHS},
    "steps within an epoch": {"steps": STEPS * EPOCHS - 1},
}


def interrupting(hook: str, at: int) -> Callback[Any]:
    """Sends SIGINT at the first call of a hook after so many steps."""

    class Interrupts(Callback[Any]):
        sent = False

        def _send(self, run: Any) -> None:
            if run.progress.steps_completed == at and not self.sent and run.mode == "fit":
                self.sent = True
                os.kill(os.getpid(), signal.SIGINT)

    def plain(self: Any, run: Any) -> None:
        self._send(run)

    def with_values(self: Any, run: Any, values: Any) -> None:
        self._send(run)

    send = plain if hook == "on_step_end" else with_values
    return type("Sends", (Interrupts,), {hook: send})()


def made(folder: Path, *callbacks: Callback[Any]) -> tuple[Trainer, Task]:
    task = tiny_regression()
    trainer = task.trainer(
        callbacks=[Checkpoint("1 epoch", background=False), *callbacks],
        scheduler=lambda optimizer: StepLR(optimizer, 1, 0.5),
        settings=Settings(directory=folder),
    )
    return trainer, task


def points(history: History) -> dict[str, list[tuple[float, float]]]:
    """Values of evaluations, and of training after whole epochs."""
    named = {name: history.points(name) for name in history.names if name.endswith("/loss")}
    return {name: found for name, found in named.items() if not name.startswith("train_recent")}


@pytest.mark.parametrize("given", FIT)
@pytest.mark.parametrize("hook", ["on_step_end", "on_train_epoch_end", "on_evaluation_end"])
def test_it_ends_as_if_it_had_not_been(tmp_path: Path, hook: str, given: str) -> None:
    assert hook in HOOKS
    trainer, task = made(tmp_path / "whole")
    whole = trainer.fit(task.train, task.validation, **FIT[given])
    weights = task.weights

    for at in range(1, whole.outcome.step + 1):
        folder = tmp_path / f"{at}"
        trainer, task = made(folder, interrupting(hook, at))
        try:
            trainer.fit(task.train, task.validation, **FIT[given])
        except Interrupted:
            pass
        trainer, task = made(folder)
        resumed = trainer.fit(task.train, task.validation, **FIT[given], resume="auto")

        assert resumed.outcome.step == whole.outcome.step, at
        assert task.weights.equal(weights), at
        found, expected = points(resumed.history), points(whole.history)
        assert found["val/loss"] == expected["val/loss"], at
        assert len(found["train/loss"]) >= len(expected["train/loss"]), at
