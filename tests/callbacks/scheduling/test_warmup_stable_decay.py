"""A rate that warms up, stays, and decays; the phases are the configuration's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD

from trackside import Scheduler, Settings
from trackside.callbacks import Checkpoint, LRScheduler
from trackside.callbacks.scheduling.warmup_stable_decay import Phases, WarmupStableDecayLR
from trackside.errors import ConfigurationError
from trackside.testing import tiny_regression

SHAPES: Any = st.sampled_from(["linear", "cosine", "sqrt"])
PHASES = st.builds(
    Phases,
    st.integers(0, 20),
    st.integers(0, 20),
    st.integers(1, 20),
    SHAPES,
    st.floats(0, 1, exclude_max=True),
)


def rates(*phases: int, steps: int, **options: Any) -> list[float]:
    """The rate of each update."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = WarmupStableDecayLR(optimizer, *phases, **options)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_the_rates_are_those_of_the_three_phases() -> None:
    assert rates(2, 3, 4, steps=11) == [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.5, 1.0, 0.5, 0.0, 0.0]


def test_a_share_can_be_left_at_the_end() -> None:
    assert rates(0, 0, 2, steps=4, final=0.25) == [2.0, 1.25, 0.5, 0.5]


def test_a_root_falls_first_and_a_cosine_last() -> None:
    shares = {shape: Phases(0, 0, 4, shape).factor(1) for shape in ("linear", "cosine", "sqrt")}

    assert shares["sqrt"] == pytest.approx(0.5)
    assert shares["linear"] == pytest.approx(0.75)
    assert shares["cosine"] == pytest.approx(0.8535533905932737)


@given(PHASES)
def test_the_rate_rises_stays_and_falls(phases: Phases) -> None:
    factors = [phases.factor(moves) for moves in range(phases.decay_end + 3)]
    top = phases.decay_start

    assert all(0 <= factor <= 1 for factor in factors)
    assert factors[: phases.warmup] == sorted(factors[: phases.warmup])
    assert set(factors[max(phases.warmup - 1, 0) : top + 1]) == {1.0}
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert factors[phases.decay_end] == phases.final


@given(PHASES, st.integers(0, 60))
def test_a_state_goes_on_where_it_stood(phases: Phases, steps: int) -> None:
    def make() -> Any:
        optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
        counts = phases.warmup, phases.stable, phases.decay
        return WarmupStableDecayLR(optimizer, *counts, shape=phases.shape, final=phases.final)

    one, other = make(), make()
    for _ in range(steps):
        one.optimizer.step()
        one.step()
    other.load_state_dict(one.state_dict())
    for scheduler in (one, other):
        scheduler.optimizer.step()
        scheduler.step()

    assert one.get_last_lr() == other.get_last_lr()


def fit(stable: int, steps: int, resume: Any = None) -> Any:
    task = tiny_regression(samples=40)
    scheduler = Scheduler(lambda o: WarmupStableDecayLR(o, 2, stable, 3), interval="step")
    trainer = task.trainer(
        scheduler=scheduler,
        callbacks=[Checkpoint("1 step", keep_last=None)],
        settings=Settings(directory=f"run-{stable}"),
    )
    trainer.fit(task.train, steps=steps, resume=resume)
    return task.weights


def test_a_run_goes_on_with_a_longer_stable_phase_as_if_it_had_always_been_that_long() -> None:
    fit(stable=3, steps=5)
    longer = fit(stable=6, steps=11, resume="run-3/checkpoints/step-0000000005")

    assert torch.equal(longer, fit(stable=6, steps=11))


def test_it_has_a_short_name() -> None:
    task = tiny_regression()
    options = {"warmup_steps": 1, "stable_steps": 1, "decay_steps": 2}
    scheduler = LRScheduler("warmup_stable_decay", options, interval="step")
    task.trainer(callbacks=[scheduler]).fit(task.train, steps=2)

    assert isinstance(scheduler.schedulers["optimizer"], WarmupStableDecayLR)


@pytest.mark.parametrize(
    ("phases", "options"),
    [
        ((-1, 1, 1), {}),
        ((1, 0.5, 1), {}),
        ((1, 1, 0), {}),
        ((1, 1, 1), {"shape": "cubic"}),
        ((1, 1, 1), {"final": 1.0}),
    ],
)
def test_phases_that_make_no_schedule_are_refused(phases: Any, options: Any) -> None:
    with pytest.raises(ConfigurationError):
        rates(*phases, steps=1, **options)
