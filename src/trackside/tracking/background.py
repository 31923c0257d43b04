"""Deliveries to a slow receiver: a bounded queue, a thread, retries, and an end that waits briefly.

A tracker on the network must neither stop training nor slow it down. Its messages are put
in a queue and sent by a thread. When the queue is full, new ones are dropped and counted. What
fails is tried again, later and later. What failed too often is put by and tried once more when
something else has got through, and at the end: a network that was down for a while costs nothing.
The first error of such a while is raised by the next `put`, in the loop's thread, where the
callback's `on_error` decides.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import Empty, Full, Queue
from time import monotonic

from trackside.errors import TracksideError

logger = logging.getLogger("trackside")

Work = Callable[[], object]


class BackgroundQueue:
    """A thread that does one piece of work after another, in the order in which they were put.

    Args:
        to: Who gets the deliveries, for messages and the thread's name.
        start: Done first; when it fails for good, nothing else is tried.
        capacity: Pieces of work that may wait.
        attempts: How often a piece is tried.
        try_again: Whether a piece that failed is tried once more when another has got through, or
            at the end.
        delay_seconds: Wait before the second attempt; it doubles from one to the next.
        flush_seconds: How long `close` waits for what is left.
    """

    def __init__(
        self,
        to: str,
        start: Work | None = None,
        *,
        capacity: int = 10_000,
        attempts: int = 4,
        try_again: bool = True,
        delay_seconds: float = 0.5,
        flush_seconds: float = 30.0,
    ) -> None:
        self.to = to
        self.dropped = 0
        """Pieces of work that found the queue full."""
        self.lost = 0
        """Pieces of work that failed once more after others had got through, or at the end."""
        self._attempts = attempts
        self._try_again = try_again
        self._delay_seconds = delay_seconds
        self._flush_seconds = flush_seconds
        self._queue: Queue[Work] = Queue(capacity)
        self._last: Work | None = None
        self._closing = threading.Event()
        self._error: Exception | None = None
        self._put_by: list[Work] = []
        self._is_down = False
        """Whether the latest piece failed for good: another failure isn't reported again."""
        self._dead = False
        self._thread = threading.Thread(
            target=self._deliver, args=(start,), name=f"delivery to {to}", daemon=True
        )
        self._thread.start()

    def put(self, work: Work) -> None:
        """Have `work` done soon; returns at once.

        Raises:
            Exception: What the latest failed delivery raised, once.
        """
        if not self._dead:
            try:
                self._queue.put_nowait(work)
            except Full:
                self.dropped += 1
        self._raise_error()

    def flush(self, seconds: float) -> bool:
        """Wait until what was put so far was tried, at most so long; whether it was. No errors."""
        arrived = threading.Event()
        try:
            self._queue.put_nowait(arrived.set)
        except Full:
            return False
        return not self._dead and arrived.wait(seconds)

    def close(self, last: Work | None = None) -> None:
        """Do what is left, and then `last`, within `flush_seconds`; end the thread.

        Raises:
            TracksideError: The time was not enough, or work was dropped or lost before.
            Exception: What the latest failed delivery raised.
        """
        self._last = last
        self._closing.set()
        self._thread.join(self._flush_seconds)
        self._dead = True  # whatever it still does, it begins nothing new
        self._raise_error()
        if self._thread.is_alive():
            raise TracksideError(
                f"{self.to} did not take all that was to be said in {self._flush_seconds:g} s",
                received=f"{self._queue.qsize()} pieces are left behind",
            )
        if self.lost:
            raise TracksideError(
                f"{self.to} did not take {self.lost} pieces, tried again and again"
            )
        if self.dropped:
            raise TracksideError(
                f"{self.to} was too slow: {self.dropped} pieces were dropped",
                remedy="record less often: Settings(log_every=...)",
            )

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _deliver(self, start: Work | None) -> None:
        if start is not None and not self._try(start):
            self._dead = True
            return
        while not self._dead:
            closing = self._closing.is_set()
            try:
                work = self._queue.get(block=not closing, timeout=0.05)
            except Empty:
                if closing:
                    break
                continue
            if not self._try(work):
                if self._try_again:
                    self._keep(work)
            elif self._put_by:
                self._try_those_put_by()
        self._try_those_put_by()
        if self._last is not None and not self._dead:
            self._try(self._last)

    def _keep(self, work: Work) -> None:
        if len(self._put_by) < self._queue.maxsize:
            self._put_by.append(work)
        else:
            self.dropped += 1

    def _try_those_put_by(self) -> None:
        put_by, self._put_by = self._put_by, []
        for work in put_by:
            if self._dead:
                return
            try:
                work()
            except Exception as error:
                self.lost += 1
                logger.debug("%s: given up: %s", self.to, error)

    def _try(self, work: Work) -> bool:
        delay = self._delay_seconds
        for attempt in range(1, self._attempts + 1):
            try:
                work()
            except Exception as error:
                if attempt == self._attempts or self._dead:
                    if not self._is_down:
                        self._error = error  # raised by `put` or `close`, in the loop's thread
                    self._is_down = True
                    return False
                logger.debug("%s: attempt %d failed: %s", self.to, attempt, error)
                self._wait(delay)
                delay *= 2
            else:
                self._is_down = False
                return True
        return False

    def _wait(self, seconds: float) -> None:
        """Sleep, but return as soon as `close` was called."""
        until = monotonic() + seconds
        while monotonic() < until and not self._closing.wait(min(0.05, seconds)):
            pass
