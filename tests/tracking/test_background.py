from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from functools import partial

import pytest

from trackside.errors import TracksideError
from trackside.tracking.background import BackgroundQueue


class Flaky:
    """Fails the first times it is called."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise OSError(f"failure {self.calls}")


def fast(start: Callable[[], object] | None = None, **options: float) -> BackgroundQueue:
    return BackgroundQueue("somebody", start, delay_seconds=0.0, **options)  # type: ignore[arg-type]


def test_work_is_done_in_order_before_the_end() -> None:
    done: list[int] = []
    delivery = fast(lambda: done.append(-1))
    for number in range(100):
        delivery.put(partial(done.append, number))

    delivery.close(last=lambda: done.append(100))

    assert done == list(range(-1, 101))


def test_what_fails_is_tried_again() -> None:
    work = Flaky(failures=2)
    delivery = fast(attempts=3)
    delivery.put(work)

    delivery.close()

    assert work.calls == 3


def test_what_fails_for_good_is_raised_where_the_callback_hears_it() -> None:
    delivery, after = fast(attempts=2), Flaky(failures=0)
    delivery.put(Flaky(failures=9))

    with pytest.raises(OSError, match="failure 2"):
        delivery.close(last=after)

    assert after.calls == 1


def test_a_start_that_fails_leaves_nothing_else_tried() -> None:
    delivery, work = fast(Flaky(failures=9), attempts=1), Flaky(failures=0)

    with pytest.raises(OSError, match="failure 1"):
        delivery.put(work)
        delivery.close(last=work)

    assert work.calls == 0


def test_a_full_queue_drops_what_is_new_and_says_so() -> None:
    block = threading.Event()
    done: list[int] = []
    delivery = fast(block.wait, capacity=2)
    for number in range(5):
        delivery.put(partial(done.append, number))
    block.set()

    with pytest.raises(TracksideError, match="3 pieces were dropped"):
        delivery.close()

    assert done == [0, 1]


def test_the_end_waits_no_longer_than_it_was_told_and_says_what_is_left() -> None:
    block = threading.Event()
    delivery, work = fast(block.wait, flush_seconds=0.01), Flaky(failures=0)
    delivery.put(work)

    with pytest.raises(TracksideError, match="1 pieces are left behind"):
        delivery.close()

    block.set()
    delivery._thread.join()
    assert work.calls == 0


def test_nobody_waits_for_a_second_attempt_at_the_end() -> None:
    work = Flaky(failures=1)
    delivery = BackgroundQueue("somebody", delay_seconds=3600.0)
    delivery.put(work)

    delivery.close()

    assert work.calls == 2


def test_no_thread_is_left() -> None:
    before = threading.active_count()

    fast().close()

    assert threading.active_count() == before


def test_what_failed_while_the_network_was_down_is_said_when_it_is_back() -> None:
    done: list[int] = []
    down = threading.Event()
    down.set()
    tried = threading.Semaphore(0)

    def say(number: int) -> None:
        try:
            if down.is_set():
                raise OSError("no network")
            done.append(number)
        finally:
            tried.release()

    delivery = fast(attempts=1)
    for number in range(5):  # more than the failures in a row that switch a callback off
        with contextlib.suppress(OSError):
            delivery.put(partial(say, number))
        tried.acquire()
    down.clear()
    with contextlib.suppress(OSError):
        delivery.put(lambda: say(5))

    with contextlib.suppress(OSError):
        delivery.close()

    assert sorted(done) == [0, 1, 2, 3, 4, 5]
    assert not delivery.lost


def test_a_while_without_network_is_one_error_for_the_callback() -> None:
    errors, tried = [], threading.Semaphore(0)

    def fail() -> None:
        tried.release()
        raise OSError("no network")

    delivery = fast(attempts=1)
    for _ in range(6):
        try:
            delivery.put(fail)
        except OSError as error:
            errors.append(error)
        tried.acquire()
    with pytest.raises((OSError, TracksideError)) as at_the_end:
        delivery.close()

    assert len([*errors, *[e for e in [at_the_end.value] if isinstance(e, OSError)]]) == 1
    assert delivery.lost == 6


def test_a_piece_that_nobody_takes_does_not_hold_up_the_others() -> None:
    poison, work = Flaky(failures=99), Flaky(failures=0)
    delivery = fast(attempts=2)
    delivery.put(poison)
    with contextlib.suppress(OSError):
        delivery.put(work)
    with contextlib.suppress(OSError, TracksideError):
        delivery.close()

    assert work.calls == 1
    assert poison.calls == 3
    assert delivery.lost == 1
