"""On a resume, schedulers of the same kind go on, added ones start fresh, others are refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.optim import SGD, Optimizer
from torch.optim import lr_scheduler as torch_schedulers

from trackside import Callback, Settings
from trackside.callbacks import Checkpoint, LRScheduler
from trackside.errors import CheckpointError
from trackside.run import Run
from trackside.testing import tiny_regression

Options = dict[str, Any]


class Rates(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_step_start(self, run: Run) -> None:
        self.seen.append(run.optimizers["optimizer"].param_groups[0]["lr"])


def fit(folder: Path, epochs: int, resume: str | None = None, **options: Any) -> list[float]:
    """Two steps an epoch; the rate of each step."""
    task, rates = tiny_regression(samples=8), Rates()
    callbacks = [Checkpoint(background=False), *options.pop("callbacks", ()), rates]
    trainer = task.trainer(callbacks=callbacks, settings=Settings(directory=folder), **options)
    trainer.fit(task.train, epochs=epochs, resume=resume)
    return rates.seen


def by_trainer(make: Callable[[Optimizer], Any]) -> Options:
    return {"scheduler": make}


def by_callback(kind: str, **options: Any) -> Options:
    return {"callbacks": [LRScheduler(kind, options)]}


ADDED: dict[str, tuple[Options, list[float]]] = {
    "cosine": (
        by_trainer(lambda o: torch_schedulers.CosineAnnealingLR(o, 2)),
        [0.1, 0.1, 0.05, 0.05],
    ),
    "a warm-up": (
        by_trainer(lambda o: torch_schedulers.LinearLR(o, 0.1, total_iters=1)),
        [0.01, 0.01, 0.1, 0.1],
    ),
    "as a callback": (by_callback("step", step_size=1, gamma=0.5), [0.1, 0.1, 0.05, 0.05]),
}


@pytest.mark.parametrize("name", ADDED)
def test_one_that_the_checkpoint_does_not_have_starts_fresh(tmp_path: Path, name: str) -> None:
    options, rates = ADDED[name]
    fit(tmp_path, 1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fit(tmp_path, 3, "auto", **options)

    assert found == pytest.approx(rates)


def test_one_that_reads_the_groups_of_the_optimizer_finds_what_it_has_set(tmp_path: Path) -> None:
    one_cycle = by_trainer(lambda o: torch_schedulers.OneCycleLR(o, max_lr=0.5, total_steps=6))
    fresh = fit(tmp_path / "fresh", 3, **one_cycle)
    fit(tmp_path / "old", 1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fit(tmp_path / "old", 3, "auto", **one_cycle)

    assert found == pytest.approx(fresh[:4])


OTHERS: dict[str, tuple[Options, Options]] = {
    "step, then cosine": (
        by_trainer(lambda o: torch_schedulers.StepLR(o, 1)),
        by_trainer(lambda o: torch_schedulers.CosineAnnealingLR(o, 2)),
    ),
    "step, then exponential": (
        by_trainer(lambda o: torch_schedulers.StepLR(o, 1)),
        by_trainer(lambda o: torch_schedulers.ExponentialLR(o, 0.5)),
    ),
    "exponential, then step": (
        by_trainer(lambda o: torch_schedulers.ExponentialLR(o, 0.5)),
        by_trainer(lambda o: torch_schedulers.StepLR(o, 1)),
    ),
    "as a callback": (by_callback("step", step_size=1), by_callback("cosine_annealing", T_max=2)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_one_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    first, second = OTHERS[name]
    fit(tmp_path, 1, **first)

    with pytest.raises(CheckpointError, match="of another kind than the one in the checkpoint"):
        fit(tmp_path, 3, "auto", **second)


@pytest.mark.parametrize("way", ["trainer", "callback"])
def test_saved_options_hold_with_a_warning(tmp_path: Path, way: str) -> None:
    def options(gamma: float) -> Options:
        if way == "callback":
            return by_callback("step", step_size=1, gamma=gamma)
        return by_trainer(lambda o: torch_schedulers.StepLR(o, 1, gamma))

    fit(tmp_path, 1, **options(0.5))

    with pytest.warns(UserWarning, match=r"goes on with gamma=0.5, as it was saved"):
        rates = fit(tmp_path, 3, "auto", **options(0.9))

    assert rates == pytest.approx([0.05, 0.05, 0.025, 0.025])


def test_a_scheduler_of_ones_own_may_keep_what_it_likes(tmp_path: Path) -> None:
    class Own:
        def __init__(self, optimizer: Optimizer) -> None:
            self.optimizer, self.moves = optimizer, 0

        def step(self) -> None:
            self.moves += 1
            for group in self.optimizer.param_groups:
                group["lr"] /= 2

        def state_dict(self) -> dict[str, Any]:
            return {"moves": self.moves, **({"late": 1} if self.moves else {})}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.moves = state["moves"]

    fit(tmp_path, 1, **by_trainer(Own))

    assert fit(tmp_path, 2, "auto", **by_trainer(Own)) == pytest.approx([0.05, 0.05])


def test_an_optimizer_of_another_rate_is_still_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(tmp_path, 1)
    fit(tmp_path, 2, "auto", optimizer=lambda p: SGD(p, lr=0.3, momentum=0.9))

    assert "goes on with lr=0.1, as it was saved, not with lr=0.3" in caplog.text
