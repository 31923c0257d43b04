from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.distributed.votes import Pace, merge, read, vote
from trackside.errors import TracksideError
from trackside.requests import Request

STOP = Request("stop", "val/loss did not improve", "EarlyStopping")
SAVE = Request("save", "requested", "Checkpoint")


def test_short_steps_are_agreed_on_less_often_up_to_a_bound() -> None:
    pace, step, seen = Pace(), 0, []
    for _ in range(12):
        pace.observe(step, 0.0005 * step)
        seen.append(pace.steps)
        step += pace.steps
    assert seen[:7] == [1, 2, 4, 8, 16, 32, 64]
    assert set(seen[7:]) == {Pace.MOST_STEPS}


def test_long_steps_are_agreed_on_one_by_one() -> None:
    pace = Pace()
    for step in range(5):
        pace.observe(step, 0.4 * step)
        assert pace.steps == 1


def test_steps_that_get_long_are_followed_at_once() -> None:
    pace = Pace()
    pace.observe(0, 0.0)
    pace.steps = 64
    pace.observe(64, 64.0)
    assert pace.steps == 1


def test_an_evaluation_in_between_does_not_count_as_long_steps() -> None:
    pace = Pace()
    pace.observe(0, 0.0)
    pace.observe(1, 0.001)
    pace.observe(3, 0.003)
    pace.pause()
    pace.observe(4, 60.0)
    assert pace.steps == 4


def test_a_fixed_pace_stays() -> None:
    pace = Pace(fixed=5)
    pace.observe(0, 0.0)
    pace.observe(5, 0.001)
    assert pace.steps == 5


def test_a_pace_below_one_is_refused() -> None:
    with pytest.raises(TracksideError, match="every so many steps"):
        Pace(fixed=0)


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1e6)), min_size=1, max_size=5))
def test_the_vector_tells_whether_somebody_asked_and_the_latest_clock(
    ranks: list[tuple[int, float]],
) -> None:
    votes = [vote(requests, seconds, 7) for requests, seconds in ranks]
    somebody, _, seconds = read([max(column) for column in zip(*votes, strict=True)])
    assert somebody == any(requests for requests, _ in ranks)
    assert seconds == pytest.approx(max(s for _, s in ranks), abs=1e-3)


def test_the_same_request_of_all_ranks_comes_once() -> None:
    assert merge([[STOP, SAVE], [SAVE, STOP]]) == [STOP, SAVE]


def test_a_request_of_some_ranks_says_which() -> None:
    assert [r.who for r in merge([[], [STOP], [STOP, SAVE]])] == [
        "EarlyStopping on ranks 1, 2",
        "Checkpoint on rank 2",
    ]


def test_a_rank_that_asks_twice_does_not_speak_for_two() -> None:
    assert [r.who for r in merge([[STOP, STOP], []])] == ["EarlyStopping on rank 0"]


def test_two_reasons_to_stop_keep_the_order_of_ranks() -> None:
    other = Request("stop", "time is up", "TimeLimit")
    assert [r.reason for r in merge([[other], [STOP]])] == ["time is up", STOP.reason]
