from __future__ import annotations

import math

import pytest

from trackside.callbacks.stopping.overfit_guard import OverfitGuard
from trackside.errors import ConfigurationError
from trackside.testing import script


def epochs(*pairs: tuple[float, float]) -> list[dict[str, float]]:
    return [{"train/loss": train, "val/loss": val} for train, val in pairs]


def test_a_gap_that_is_too_large_for_too_long_stops_the_run() -> None:
    run = script(
        OverfitGuard(0.2, patience=2), epochs((0.5, 0.6), (0.3, 0.6), (0.2, 0.6), (0.1, 0.6))
    )

    assert run.outcome is not None
    assert run.progress.epochs_completed == 3
    assert run.outcome.reason == (
        "val/loss 0.6 is behind train/loss 0.2 by more than 0.2 for 2 evaluations"
    )


def test_a_gap_that_closes_again_is_forgiven() -> None:
    run = script(
        OverfitGuard(0.2, patience=2), epochs((0.3, 0.6), (0.5, 0.6), (0.3, 0.6), (0.5, 0.6))
    )

    assert run.progress.epochs_completed == 4


@pytest.mark.parametrize("last", [0.6, math.nan])
def test_an_evaluation_that_is_no_number_does_not_close_the_gap(last: float) -> None:
    pairs = epochs((0.3, 0.6), (0.3, math.nan), (0.3, last), (0.3, 0.3))
    run = script(OverfitGuard(0.2, patience=3), pairs)

    assert run.outcome is not None
    assert run.progress.epochs_completed == 3
    assert ("or isn't a number" in run.outcome.reason) == math.isnan(last)


def test_a_relative_gap_is_a_share_of_the_trainings_value() -> None:
    guard = OverfitGuard(0.5, relative=True, patience=1)

    assert script(guard, epochs((1.0, 1.4), (0.1, 0.16))).progress.epochs_completed == 2


def test_larger_can_be_better() -> None:
    guard = OverfitGuard(0.1, "train/accuracy", "val/accuracy", patience=1, mode="max")
    story = [{"train/accuracy": 0.9, "val/accuracy": 0.7}] * 3

    assert script(guard, story).progress.epochs_completed == 1


def test_an_evaluation_before_the_first_value_of_training_is_not_judged() -> None:
    guard = OverfitGuard(0.0, patience=1)

    run = script(guard, lambda run: run.tell_evaluation({"val/loss": 9.0}))

    assert not run.stopped


def test_its_count_is_state() -> None:
    guard, other = OverfitGuard(0.1, patience=5), OverfitGuard(0.1, patience=5)
    script(guard, epochs((0.1, 0.9)))

    other.load_state_dict(guard.state_dict())

    assert other.state_dict() == {"waited": 1}


def test_options_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_gap"):
        OverfitGuard(-0.1)
    with pytest.raises(ConfigurationError, match="patience"):
        OverfitGuard(0.1, patience=0)
