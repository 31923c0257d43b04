"""FailureWatch: no rank waits for one that has failed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

import torch.distributed as dist

from trackside.distributed.failure import Failure, PeerFailed, is_consequence, publish, published
from trackside.distributed.standstill import Standstill
from trackside.machine.accelerator import second_connection

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

    from trackside.distributed.links import Links
    from trackside.distributed.world import World

# Ignored by default, so that one that comes late, after the handler is gone, does no harm.
_SIGNAL = getattr(signal, "SIGURG", None)


@dataclass(frozen=True, slots=True)
class EndingTimes:
    """How long each stage of ending a rank may take."""

    poll_seconds: float = 0.2
    """How often the store is asked whether a rank failed."""
    notice_seconds: float = 1.0
    """For the program to notice by itself, in a collective or at a step; then it is interrupted."""
    respond_seconds: float = 4.0
    """For it to react to the interruption; then the process is ended where it stands."""
    closing_seconds: float = 20.0
    """For callbacks to close; then the same."""
    verdict_seconds: float = 3.0
    """For finding out whose failure broke a collective."""
    waiting_seconds: float | None = None
    """For ranks to wait for each other in different collectives; None: as the environment says, or
    30; 0: without end."""
    silence_seconds: float = 60.0
    """After how long a process that neither ended nor answers counts as failed."""


class FailureWatch:
    """Ends this rank soon after another one has failed, wherever this one is stuck.

    A rank that fails writes its error to the rendezvous store (`report`). A thread of every rank
    looks there, and listens to the lifeline for processes that died. When it learns of a failure it
    cuts the connections of this process, so that a collective the program waits in ends with an
    error at once; a program that is busy elsewhere gets `PeerFailed` raised where it stands; and
    one that does not react is ended without collectives, after printing whose error was first.

    In a world of one process it does nothing and has no thread.

    Args:
        world: The ranks.
        step: Tells the steps completed, for the record.
        patience: How long each stage may take.
        when: Words for what the program is about, for a wait without end; None: the step.

    Example:
        ::

            with FailureWatch(world, lambda: run.progress.steps_completed) as watch:
                try:
                    train()
                except BaseException as error:
                    raise watch.report(error)
                finally:
                    watch.closing()
                    close_callbacks()
    """

    def __init__(
        self,
        world: World,
        step: Callable[[], int] = lambda: 0,
        patience: EndingTimes | None = None,
        when: Callable[[], str] | None = None,
    ) -> None:
        self.failure: Failure | None = None
        """The first failure of any rank, as soon as this rank knows it."""
        self._world = world
        self._step = step
        self._patience = patience or EndingTimes()
        self._links = world.links
        self._store: Store | None = None
        self._thread: threading.Thread | None = None
        self.known = threading.Event()
        """Set when `failure` is."""
        self._noticed = threading.Event()
        self._stopped = threading.Event()
        self._former_handler: Any = None
        self._beats = Beats(self._patience.silence_seconds)
        self._standstill = Standstill(
            world, self._work_done, when or self._at_step, self._patience.waiting_seconds
        )

    # --- the program's side --------------------------------------------------------------------

    def start(self) -> None:
        """Begin to watch. Call it in the main thread, or the program can't be interrupted."""
        if self._links is None:
            return
        self._store = second_connection(self._links.store)
        if _SIGNAL is not None and threading.current_thread() is threading.main_thread():
            self._former_handler = signal.signal(_SIGNAL, self._interrupted)
        self._thread = threading.Thread(
            target=self._watch, args=(self._store, self._links), name="trackside-watch", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; from here on nothing interrupts or ends this process."""
        self._stopped.set()
        self._noticed.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._former_handler is not None and _SIGNAL is not None:
            signal.signal(_SIGNAL, self._former_handler)
            self._former_handler = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def check(self) -> None:
        """Raise `PeerFailed` when another rank has failed. Costs one look at an attribute."""
        if self.failure is not None and self.failure.rank != self._world.rank:
            self._noticed.set()
            raise PeerFailed(self.failure, self._world.rank)

    def closing(self) -> None:
        """The program is ending: don't interrupt it any more, only end it if it takes too long."""
        self._noticed.set()

    def report(self, error: BaseException) -> BaseException:
        """Make this rank's error known to the others, and learn whose was first.

        To be called where the run ends with an error; returns what to raise.

        Returns:
            `error` itself when it arose here (with a note when another rank failed before);
            `PeerFailed` when it is the mere consequence of another rank's failure.
        """
        self._noticed.set()
        if self._links is None or self._store is None or isinstance(error, PeerFailed):
            return error
        consequence = is_consequence(error)
        if consequence and self.failure is None:
            self.known.wait(self._patience.verdict_seconds)
        mine = Failure.of(error, self._world.rank, self._step())
        try:
            first = self.failure or publish(self._store, mine)
        except dist.DistError as lost:
            error.add_note(f"the other ranks could not be informed: {lost}")
            first = mine
        self._cut(self._links)
        if first.rank == self._world.rank:
            _tell_launcher(error)
            return error
        if consequence:
            peer = PeerFailed(first, self._world.rank)
            peer.add_note(f"rank {self._world.rank} was stopped in: {mine.summary}")
            return peer
        error.add_note(f"before that, {first.headline}")
        return error

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if not self._noticed.is_set():
            self.check()

    # --- the thread's side ---------------------------------------------------------------------

    def _watch(self, store: Store, links: Links) -> None:
        while not self._stopped.wait(self._patience.poll_seconds):
            failure = self._look(store, links)
            if failure is not None:
                self.failure = failure
                self.known.set()
                if failure.rank != self._world.rank:
                    self._end(failure, links)
                return

    def _look(self, store: Store, links: Links) -> Failure | None:
        next_rank, end = links.lifeline.next_rank, links.lifeline.end
        try:
            if end is not None:  # an error that it reported before comes first, and stays first
                return publish(store, Failure.of_process(next_rank, end))
            silent = self._beats.exchange(store, self._world.rank, next_rank)
            if silent is not None:
                return publish(store, Failure.silence(next_rank, silent))
            failure = published(store) or self._standstill.look(store)
            return failure and publish(store, failure)
        except dist.DistError:
            return Failure.of_store()

    def _work_done(self) -> tuple[int, int]:
        return self._step(), 0 if self._links is None else self._links.connections.finished

    def _at_step(self) -> str:
        return f"at step {self._step()}"

    def _end(self, failure: Failure, links: Links) -> None:
        self._cut(links)
        patience = self._patience
        if not self._noticed.wait(patience.notice_seconds):
            if self._former_handler is not None and _SIGNAL is not None:
                # A signal, because it also ends a sleep or a read that Python is blocked in.
                signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)
            if not self._noticed.wait(patience.respond_seconds):
                self._exit(failure, "does not react")
        if not self._stopped.wait(patience.closing_seconds):
            self._exit(failure, f"is still closing after {patience.closing_seconds:g} seconds")

    def _cut(self, links: Links) -> None:
        links.connections.sever()
        if self._world.device.type != "cpu" and dist.is_initialized():
            dist.distributed_c10d._get_default_group().abort()

    def _exit(self, failure: Failure, why: str) -> None:
        """End this process without collectives, destructors or clean-up: all of them may hang."""
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        where = "".join(traceback.format_stack(frame))
        text = f"{PeerFailed(failure, self._world.rank)}\n\n"
        text += f"rank {self._world.rank} {why} and is ended where it stands:\n{where}"
        sys.stderr.write(text)
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(1)


class Beats:
    """Signs of life through the store: each rank writes its own and reads the next one's.

    They show what the lifeline can't: a machine that lost power or network, a stopped process.
    """

    INTERVAL_SECONDS = 1.0

    def __init__(self, silence_seconds: float) -> None:
        self._silence_seconds = silence_seconds
        self._count = 0
        self._at = time.monotonic()
        self._heard: bytes | None = None
        self._heard_at = self._at

    def exchange(self, store: Store, rank: int, next_rank: int) -> float | None:
        """Give a sign and look for the other's; returns its silence when that is too long."""
        now = time.monotonic()
        gap = now - self._at
        if gap < self.INTERVAL_SECONDS:
            return None
        self._at = now
        self._count += 1
        store.set(f"alive/{rank}", str(self._count))
        key = f"alive/{next_rank}"
        heard = store.get(key) if store.check([key]) else None
        # After a gap it was this process that stood still: the other gets its time again.
        if heard != self._heard or gap > 5 * self.INTERVAL_SECONDS:
            self._heard, self._heard_at = heard, now
        silence = now - self._heard_at
        return silence if heard is not None and silence > self._silence_seconds else None


def _tell_launcher(error: BaseException) -> None:
    """Leave the error where torch elastic looks for it, so that its summary shows the cause."""
    if "TORCHELASTIC_ERROR_FILE" in os.environ and sys.exc_info()[1] is error:
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler  # noqa: PLC0415

        get_error_handler().record_exception(error)
