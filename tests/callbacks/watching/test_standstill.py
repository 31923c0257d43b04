from __future__ import annotations

from trackside.callbacks.watching.standstill import Standstill


def test_counts_that_move_are_no_standstill() -> None:
    standstill = Standstill(10.0)

    assert [standstill.seconds_to_report(8.0 * n, n) for n in range(5)] == [None] * 5


def test_a_standstill_is_told_once_it_has_lasted_long_enough() -> None:
    standstill = Standstill(10.0)

    told = [standstill.seconds_to_report(now, "same") for now in (0.0, 9.0, 10.0, 11.0)]

    assert told == [None, None, 10.0, None]


def test_it_is_told_again_after_twice_the_time() -> None:
    standstill = Standstill(10.0)
    for now in (0.0, 12.0):
        standstill.seconds_to_report(now, "same")

    assert standstill.seconds_to_report(23.0, "same") is None
    assert standstill.seconds_to_report(24.0, "same") == 24.0


def test_after_a_movement_it_counts_anew() -> None:
    standstill = Standstill(10.0)
    for now, counts in ((0.0, 1), (12.0, 1), (13.0, 2)):
        standstill.seconds_to_report(now, counts)

    assert standstill.seconds_to_report(22.0, 2) is None
    assert standstill.seconds_to_report(23.0, 2) == 10.0
