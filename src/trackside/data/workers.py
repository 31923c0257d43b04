"""Worker processes of loaders outlive the signals that ask the run for its end.

A terminal, a launcher and a cluster signal whole process groups. The run answers at its next safe
point; until then its workers have to go on loading.
"""

from __future__ import annotations

import signal
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader, get_worker_info

from trackside.data.seekable import SeededDataset
from trackside.lifecycle.signals import ALWAYS, StopOnSignals
from trackside.machine import randomness

ENDING_SECONDS = 1.0
"""How long a worker whose pipe is broken may take to end."""


def started(loader: Iterable[Any]) -> Iterator[Any]:
    """`iter(loader)`; worker processes that it starts don't end by signals that ask for the end.

    They end with the pass, when the loader ends them, or with this process. One that doesn't is
    killed by the loader's own clean-up: it waits 5 seconds, as torch has it, and then ends them by
    SIGTERM, which they ignore; so it is made to send SIGKILL.
    """
    if not isinstance(loader, DataLoader) or loader.num_workers == 0:
        return iter(loader)
    numbers = stop_signals()
    init = loader.worker_init_fn
    loader.worker_init_fn = WorkerStart(init, numbers)
    try:
        with _blocked(numbers):
            batches = iter(loader)
    finally:
        loader.worker_init_fn = init
    for worker in _processes(batches):
        popen = getattr(worker, "_popen", None)
        if popen is not None:
            popen.terminate = popen.kill
    return batches


def stop_signals() -> tuple[int, ...]:
    """Signals that ask the run under way for its end; without a run, those that always do."""
    handled = (
        number
        for number in signal.valid_signals()
        if isinstance(getattr(signal.getsignal(number), "__self__", None), StopOnSignals)
    )
    return tuple(dict.fromkeys((*ALWAYS, *handled)))


class Workers:
    """The worker processes of one loader, from pass to pass.

    Args:
        loader: Whose passes they load; one without workers has none.
    """

    def __init__(self, loader: Iterable[Any]) -> None:
        self._loader = loader
        self._loading: Callable[[], object] = _nobody
        self.resumed = False
        """Whether passes were made before, in another process."""

    def start(self) -> Iterator[Any]:
        """The batches of a new pass; see `started`."""
        batches = started(self._loader)
        if self.exist:  # a weak reference: they end with the pass
            self._loading = weakref.ref(batches)
        return batches

    @property
    def exist(self) -> bool:
        """Whether worker processes load the batches."""
        return getattr(self._loader, "num_workers", 0) > 0

    @property
    def persist(self) -> bool:
        """Whether those of an earlier pass are kept for the next one."""
        return getattr(self._loader, "_iterator", None) is not None

    def start_those_of_former_passes(
        self, generators_kept: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """Start those that would be there already, had the run not been resumed.

        Starting them draws a seed, which the unbroken run doesn't draw here: all generators, and
        those of the data, stand afterwards where they stood before.
        """
        resumed, self.resumed = self.resumed, False
        stays = self.exist and bool(getattr(self._loader, "persistent_workers", False))
        if resumed and stays and not self.persist:
            with generators_kept(), randomness.preserved():
                self.start()

    @property
    def lost(self) -> bool:
        """Whether one of the newest pass is no longer there.

        Its pipe breaks before it has ended: one that is about to end is waited for.
        """
        ends = [worker.sentinel for worker in _processes(self._loading())]
        return bool(ends) and bool(wait(ends, ENDING_SECONDS))

    def forget(self) -> None:
        """Let the next pass start others."""
        vars(self._loader)["_iterator"] = None

    def end(self) -> None:
        """End those that still live: the run is over."""
        shut_down = getattr(self._loading(), "_shutdown_workers", None)
        if shut_down is not None:
            shut_down()
        if self.persist:
            self.forget()


def _nobody() -> None:
    """No pass has been started."""


def _processes(batches: object) -> list[Any]:
    return list(getattr(batches, "_workers", ()))


class WorkerStart:
    """A worker's first act: ignore the signals, then run the user's function.

    Args:
        init: The user's `worker_init_fn`.
        numbers: Signals that are not meant for a worker.
    """

    def __init__(self, init: Callable[[int], None] | None, numbers: tuple[int, ...]) -> None:
        self._init = init
        self._numbers = numbers

    def __call__(self, worker: int) -> None:
        """Called in worker number `worker`."""
        for number in self._numbers:
            # A function, not SIG_IGN: programs that the data set starts don't inherit it.
            signal.signal(number, _stay)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._numbers)
        info = get_worker_info()
        if info is not None and isinstance(info.dataset, SeededDataset):
            # Whoever asks for the data set and sets something on it means the user's own.
            object.__setattr__(info, "dataset", info.dataset.original)  # torch keeps it frozen
        if self._init is not None:
            self._init(worker)


def _stay(number: int, frame: FrameType | None) -> None:
    """The signal is meant for the run, which ends its workers itself."""


@contextmanager
def _blocked(numbers: Iterable[int]) -> Iterator[None]:
    """Signals wait outside: a child that is started inside begins with them blocked."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
