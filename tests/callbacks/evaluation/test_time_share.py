"""The share of the time that evaluations may take, apart from a run."""

from __future__ import annotations

from typing import Any

import pytest

from trackside.callbacks.evaluation import time_share
from trackside.callbacks.evaluation.time_share import TimeShare
from trackside.errors import CheckpointError, ConfigurationError


def test_the_first_one_fits() -> None:
    assert TimeShare(1).fits(run_seconds=0.0)


def test_one_fits_once_all_together_stay_within_the_share() -> None:
    share = TimeShare(10)
    share.count(3.0, expected=False)
    share.count(2.0, expected=True)

    # Of 68 seconds and the 2 that it takes, 7 are a tenth.
    assert (share.fits(67.9), share.fits(68.0)) == (False, True)


def test_others_that_take_their_time_leave_less_of_it() -> None:
    share = TimeShare(50)
    share.count(1.0, expected=True)
    before = share.fits(10.0)
    share.count(30.0, expected=False)

    assert (before, share.fits(10.0)) == (True, False)


def test_an_evaluation_is_timed_from_beginning_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 14.0])
    monkeypatch.setattr(time_share, "perf_counter", lambda: next(clock))
    share = TimeShare(10)
    share.timing(expected=True)()

    assert (share.spent_seconds, share.expected_seconds) == (4.0, 4.0)


def test_it_goes_on_where_it_was_left() -> None:
    share, resumed = TimeShare(10), TimeShare(10)
    share.count(2.0, expected=True)
    resumed.load_state_dict(share.state_dict())

    assert [resumed.fits(seconds) for seconds in (37.9, 38.0)] == [False, True]


def test_a_return_to_a_checkpoint_gives_no_time_back() -> None:
    share = TimeShare(10)
    share.count(2.0, expected=True)
    before = share.state_dict()
    share.count(2.0, expected=True)
    share.load_state_dict(before)

    assert share.spent_seconds == 4.0


@pytest.mark.parametrize("percent", [0, 100, -1, True, "5", float("nan")])
def test_a_share_of_nothing_or_of_all_is_refused(percent: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TimeShare(percent)
    assert caught.value.option == "time_percent"


@pytest.mark.parametrize(
    "state",
    [
        {"spent": -1.0, "expected": None},
        {"spent": float("nan"), "expected": None},
        {"spent": "1", "expected": None},
        {"spent": 1.0},
    ],
)
def test_state_that_no_run_has_saved_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        TimeShare(10).load_state_dict(state)
