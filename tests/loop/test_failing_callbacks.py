"""Errors of callbacks, at each hook and of each policy: what is saved, and what a resume gives.

The table: a callback that warns costs the run nothing; one that raises ends it, and where the state
is whole, the run is saved first and resumed to the same weights and records as an unbroken one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from trackside import Callback, Settings, Trainer
from trackside.callbacks.averaging.ema import EMA
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.errors import NonFiniteError
from trackside.lifecycle.failures import BEGINNINGS, WHOLE
from trackside.testing import Recorder, SpyCallback

DATA = TensorDataset(torch.linspace(-1, 1, 24)[:, None], torch.linspace(1, -1, 24)[:, None])
RARE = {"on_stop"}
"""Hooks that a run to its end doesn't fire."""


def made(folder: Path, *callbacks: Callback[Any]) -> Trainer:
    return Trainer(
        lambda: nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.5), nn.Linear(4, 1)),
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        callbacks=[EMA(), Checkpoint("4 steps", keep_last=None, background=False), *callbacks],
        defaults=False,
        seed=0,
        settings=Settings(directory=folder, log_every="2 steps"),
    )


def fit(trainer: Trainer, **options: Any) -> Any:
    return trainer.fit(DATA, DATA, epochs=3, batch_size=8, evaluate_every="2 steps", **options)


def ends_in(trainer: Trainer, result: Any) -> dict[str, Any]:
    """Weights, averages and records."""
    records = {
        f"{name} at {r.step}": value
        for r in result.history
        for name, value in r.values.items()
        if not name.startswith("time/")
    }
    weights = {k: v.tolist() for k, v in trainer.models["model"].state_dict().items()}
    averages = trainer.callbacks["ema"].weights(model="model")
    return {**records, **weights, "averages": {k: v.tolist() for k, v in averages.items()}}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    trainer = made(tmp_path_factory.mktemp("unbroken") / "run")
    return ends_in(trainer, fit(trainer))


@pytest.mark.parametrize("when", [1, 2])
@pytest.mark.parametrize("hook", sorted((WHOLE | BEGINNINGS) - RARE))
def test_an_error_where_the_state_is_whole_is_saved_and_resumed_bitwise(
    tmp_path: Path, unbroken: dict[str, Any], hook: str, when: int
) -> None:
    if hook == "on_fit_end":
        when = 1
    error = ValueError("on purpose")
    spy, last = SpyCallback(hook, error, when=when, counts=()), Recorder()
    broken = made(tmp_path / "run", spy, last)
    with pytest.raises(ValueError) as caught:
        fit(broken)
    assert caught.value is error
    assert last.names.count(hook) >= when, "the rest of the event happened"
    assert broken.result is not None
    step, newest = broken.result.outcome.step, broken.callbacks["checkpoint"].last
    assert newest is not None
    assert newest.name.startswith(f"step-{step:010}"), "the run was saved where it ended"

    trainer = made(tmp_path / "run")
    assert ends_in(trainer, fit(trainer, resume="auto")) == unbroken


def test_an_error_at_a_stop_is_saved(tmp_path: Path, unbroken: dict[str, Any]) -> None:
    asks = SpyCallback("on_step_end", lambda run: run.stop("enough"), when=3, counts=())
    fails = SpyCallback("on_stop", ValueError, counts=())
    fails.name = "fails"
    with pytest.raises(ValueError):
        fit(made(tmp_path / "run", asks, fails))

    trainer = made(tmp_path / "run")
    assert ends_in(trainer, fit(trainer, resume="auto")) == unbroken


IN_A_STEP = ["on_step_start", "on_batch_end", "on_backward_end", "on_optimizer_step_start"]


@pytest.mark.parametrize("hook", [*IN_A_STEP, "on_evaluation_batch_end"])
def test_an_error_within_a_step_or_an_evaluation_reaches_the_others_first(
    tmp_path: Path, hook: str
) -> None:
    last = Recorder()
    with pytest.raises(ValueError):
        fit(made(tmp_path / "run", SpyCallback(hook, ValueError, counts=()), last))

    assert last.names.count(hook) == 1


@pytest.mark.parametrize("hook", sorted({*WHOLE, *BEGINNINGS, *IN_A_STEP} - RARE))
def test_an_error_of_a_callback_that_warns_changes_nothing(
    tmp_path: Path, unbroken: dict[str, Any], hook: str
) -> None:
    spy = SpyCallback(hook, ValueError, counts=())
    spy.on_error = "warn"
    trainer = made(tmp_path / "run", spy)

    assert ends_in(trainer, fit(trainer)) == unbroken


def test_numbers_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    spy = SpyCallback("on_step_end", NonFiniteError("loss is nan"), when=2, counts=())
    trainer = made(tmp_path / "run", spy)
    with pytest.raises(NonFiniteError):
        fit(trainer)

    assert trainer.callbacks["checkpoint"].last is None


def test_where_it_is_not_wanted_nothing_is_saved(tmp_path: Path) -> None:
    trainer = made(tmp_path / "run", SpyCallback("on_step_end", ValueError, when=2, counts=()))
    trainer.callbacks["checkpoint"].save_on_failure = False
    with pytest.raises(ValueError):
        fit(trainer)

    assert trainer.callbacks["checkpoint"].last is None
