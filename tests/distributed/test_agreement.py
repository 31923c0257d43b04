from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.distributed.conftest import StartForked, TorchRun
from tests.distributed.simulation import Deadlock, Ranks, SimulatedExchange
from trackside.distributed.agreement import Alone, Together, agree
from trackside.distributed.votes import Pace
from trackside.distributed.world import World
from trackside.errors import TracksideError
from trackside.requests import Request

STOP = Request("stop", "val/loss did not improve", "EarlyStopping")
SAVE = Request("save", "requested", "Checkpoint")
KINDS: st.SearchStrategy[Any] = st.sampled_from(["stop", "save", "evaluate", "skip_step"])

Asked = dict[tuple[int, int], list[Request]]
"""What is asked, by rank and step."""


@st.composite
def asked_anywhere(draw: st.DrawFn, ranks: int, steps: int) -> Asked:
    asked: Asked = {}
    places = st.tuples(st.integers(0, ranks - 1), st.integers(1, steps))
    for number, place in enumerate(draw(st.lists(places, max_size=6))):
        request = Request(draw(KINDS), f"reason {number}", "callback")
        asked.setdefault(place, []).append(request)
    return asked


def run_all(
    ranks: Ranks,
    asked: Asked,
    steps: int,
    settles: set[int],
    pace: Callable[[], Pace] = Pace,
    clocks: Callable[[int, int], float] = lambda rank, step: 0.01 * step,
) -> list[list[tuple[int, list[Request]]]]:
    """Every rank's applied requests by step."""

    def program(rank: int) -> list[tuple[int, list[Request]]]:
        now = 0
        agreement = Together(
            SimulatedExchange(ranks, rank), lambda: clocks(rank, now), pace(), speaks=rank == 0
        )
        applied: list[tuple[int, list[Request]]] = []
        for now in range(1, steps + 1):
            ranks.pause()
            todo = list(agreement.at_step(asked.get((rank, now), [])))
            if now in settles or now == steps:
                todo += agreement.agree_now([])
            if todo:
                applied.append((now, todo))
        return applied

    return ranks.run(program)


def drawn(choices: list[int]) -> Iterator[int]:
    return itertools.cycle(choices)


# --- what every rank does is the same ------------------------------------------------------------


@given(
    data=st.data(),
    size=st.integers(2, 4),
    choices=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    settles=st.sets(st.integers(1, 30)),
    every=st.sampled_from([None, 1, 2, 7]),
)
def test_all_ranks_apply_the_same_requests_at_the_same_step_in_the_same_order(
    data: st.DataObject, size: int, choices: list[int], settles: set[int], every: int | None
) -> None:
    steps = 30
    asked = data.draw(asked_anywhere(size, steps))
    speed = data.draw(st.lists(st.floats(0.0001, 0.2), min_size=size, max_size=size))
    ranks = Ranks(size, drawn(choices))
    applied = run_all(
        ranks, asked, steps, settles, lambda: Pace(every), lambda rank, step: speed[rank] * step
    )
    assert all(mine == applied[0] for mine in applied)


@given(data=st.data(), choices=st.lists(st.integers(0, 1), min_size=1, max_size=30))
def test_every_request_is_applied_once_and_not_before_it_was_asked(
    data: st.DataObject, choices: list[int]
) -> None:
    asked = data.draw(asked_anywhere(2, 30))
    applied = run_all(Ranks(2, drawn(choices)), asked, 30, set())[0]
    times = {request.reason: step for step, done in applied for request in done}
    reasons = [request.reason for _, done in applied for request in done]
    assert sorted(reasons) == sorted(r.reason for done in asked.values() for r in done)
    assert all(times[r.reason] >= step for (_, step), done in asked.items() for r in done)


@pytest.mark.parametrize("every", [1, 3, 10])
def test_a_request_waits_for_two_exchanges_at_most(every: int) -> None:
    for step in range(1, 20):
        ranks = Ranks(2, itertools.cycle([0, 1]))
        ((applied, _),) = run_all(ranks, {(1, step): [STOP]}, 60, set(), lambda: Pace(every))[0]
        assert step <= applied <= step + 2 * every


def test_ranks_that_keep_step_never_wait_in_the_loop() -> None:
    ranks = Ranks(3, itertools.cycle([0, 1, 2]))

    def program(rank: int) -> None:
        agreement = Together(SimulatedExchange(ranks, rank), lambda: 0.0, Pace(1), speaks=rank == 0)
        for _ in range(20):
            ranks.pause()
            agreement.at_step([])

    ranks.run(program)
    assert ranks.waits == [0, 0, 0]


def test_settle_leaves_nothing_open() -> None:
    asked = {(0, 4): [SAVE], (1, 5): [STOP]}
    applied = run_all(Ranks(2, itertools.cycle([1, 0])), asked, 9, {5}, lambda: Pace(50))[0]
    assert [step for step, _ in applied] == [5]


def test_any_is_true_everywhere_when_it_is_true_somewhere() -> None:
    ranks = Ranks(3, itertools.cycle([2, 0, 1]))

    def program(rank: int) -> list[bool]:
        agreement = Together(SimulatedExchange(ranks, rank), lambda: 0.0, Pace(4), speaks=rank == 0)
        answers = []
        for step in range(6):
            agreement.at_step([])
            answers.append(agreement.any(step == 3 and rank == 1))
        return answers

    assert ranks.run(program) == [[False, False, False, True, False, False]] * 3


def test_ranks_with_different_numbers_of_steps_get_an_error_instead_of_waiting() -> None:
    ranks = Ranks(2, itertools.cycle([0, 1]))

    def program(rank: int) -> None:
        agreement = Together(SimulatedExchange(ranks, rank), lambda: 0.0, Pace(1), speaks=rank == 0)
        for _ in range(5 + rank):
            agreement.at_step([])
        agreement.agree_now([])

    with pytest.raises(TracksideError, match="not at the same step"):
        ranks.run(program)


def test_the_simulation_notices_a_deadlock() -> None:
    ranks = Ranks(2, itertools.cycle([0, 1]))

    def program(rank: int) -> None:
        agreement = Together(SimulatedExchange(ranks, rank), lambda: 0.0, Pace(1), speaks=rank == 0)
        if rank == 0:
            agreement.agree_now([])

    with pytest.raises(Deadlock):
        ranks.run(program)


# --- one clock -----------------------------------------------------------------------------------


def test_the_clock_is_that_of_rank_zero_on_every_rank() -> None:
    ranks = Ranks(2, itertools.cycle([0, 1]))

    def program(rank: int) -> list[float]:
        ticks = itertools.count(100.0 * rank + 1)
        exchange = SimulatedExchange(ranks, rank)
        agreement = Together(exchange, lambda: next(ticks), Pace(1), speaks=rank == 0)
        seen = []
        for _ in range(4):
            agreement.at_step([])
            seen.append(agreement.seconds)
        return seen

    assert ranks.run(program) == [[0.0, 1.0, 2.0, 3.0]] * 2


def test_the_time_after_settling_is_not_taken_for_long_steps() -> None:
    ranks, pace, now = Ranks(1, itertools.cycle([0])), Pace(), [0.0]

    def program(rank: int) -> list[int]:
        agreement = Together(SimulatedExchange(ranks, rank), lambda: now[0], pace, speaks=True)
        paces = []
        for _ in range(2):
            for _ in range(10):
                now[0] += 0.001  # a step
                agreement.at_step([])
            agreement.agree_now([])
            paces.append(pace.steps)
            now[0] += 60.0  # an evaluation
        return paces

    ((before, after),) = ranks.run(program)
    assert before > 1
    assert after >= before


# --- the vector and the order --------------------------------------------------------------------


# --- one process ---------------------------------------------------------------------------------


def test_in_one_process_a_request_is_done_at_once() -> None:
    agreement = agree(World(), clock=lambda: 12.5)
    assert isinstance(agreement, Alone)
    assert agreement.at_step([STOP]) == [STOP]
    assert agreement.agree_now([SAVE]) == [SAVE]
    assert agreement.seconds == 12.5
    assert agreement.any(True) is True


def test_in_one_process_nothing_asked_makes_nothing() -> None:
    assert agree(World()).at_step([]) == ()


# --- two processes -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def agreeing(on_ranks: StartForked) -> TorchRun:
    return on_ranks("agreeing.py")


@pytest.mark.distributed
def test_two_processes_apply_the_same_requests_at_the_same_step(agreeing: TorchRun) -> None:
    first, second = agreeing.claimed("applied")
    assert first == second
    assert [[r[0] for r in done] for _, done in first] == [["save"], ["evaluate", "stop"]]
    assert first[-1][1][-1] == ["stop", "no improvement", "callback 1 on rank 1"]


@pytest.mark.distributed
def test_two_processes_have_one_clock(agreeing: TorchRun) -> None:
    first, second = agreeing.claimed("clock")
    assert first == second
    assert first[-1] > 0


@pytest.mark.distributed
def test_a_request_is_applied_soon_after_it_was_asked(agreeing: TorchRun) -> None:
    asked, applied = agreeing.claimed("stop asked and applied")[1]
    assert asked < applied <= asked + 2 * Pace.MOST_STEPS


@pytest.mark.distributed
def test_an_agreement_leaves_in_order(agreeing: TorchRun) -> None:
    assert (agreeing.exit_code, agreeing.hung) == (0, False), str(agreeing)
