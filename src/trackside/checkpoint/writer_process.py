"""The process that writes the tensors of checkpoints, for the run that started it.

    python -m trackside.checkpoint.writer_process ORDERS ANSWERS MEMORY

The three are descriptors that it inherits: a pipe with orders, a pipe for answers, and the memory
that holds the tensors. An order and its answer are a line of JSON each; `delegation` is the other
end. It imports no torch, runs at low priority, ignores signals that ask for the end, and ends when
the pipe with orders does: with its run, however that ends. What it was writing then is removed.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from trackside.checkpoint.files import CHUNK_BYTES, DigestWriter
from trackside.checkpoint.temporary import LOCK_NAME

NICENESS = 10
"""Beside a busy training it gets about a tenth of a core, and what the training leaves idle. The
system derives the priority of its reads and writes from it."""
NOT_IGNORED = {
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP),
    *(signal.SIGSYS, signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGCONT),
}
"""Faults of a program, and what can't be ignored."""


class Abandoned(Exception):
    """The run has ended before the file was whole."""


class Writer:
    """Takes orders until there are no more.

    Args:
        orders: The pipe with orders.
        answers: The pipe for answers.
        memory: The descriptor of the memory.
    """

    def __init__(self, orders: BinaryIO, answers: BinaryIO, memory: int) -> None:
        self._orders, self._answers, self._memory = orders, answers, memory
        self._map: mmap.mmap | None = None
        self._header = b""
        self._ranges: list[tuple[int, int]] = []

    def serve(self) -> None:
        """Take orders; returns when the run has ended."""
        for line in self._orders:
            try:
                answer = self._answer(json.loads(line))
            except Abandoned:
                return
            self._answers.write(json.dumps(answer).encode("ascii") + b"\n")
            self._answers.flush()

    def _answer(self, order: dict[str, Any]) -> dict[str, Any]:
        if "header" in order:  # what is written changes seldom, and is sent only then
            self._header = bytes.fromhex(order["header"])
            self._ranges = order["ranges"]
            self._map = None
        path = Path(order["path"])
        try:
            return self._write(path)
        except OSError as error:
            return {"errno": error.errno, "reason": error.strerror, "file": error.filename}
        except Abandoned:
            remove(path, with_folder=order["with_folder"])
            raise
        except Exception as error:  # the run then writes the file itself
            return {"failed": f"{type(error).__name__}: {error}"}

    def _write(self, path: Path) -> dict[str, Any]:
        if self._map is None:
            self._map = mmap.mmap(self._memory, 0, access=mmap.ACCESS_READ)
        memory = memoryview(self._map)
        with DigestWriter(path) as file:
            file.write(self._header)
            for begin, size in self._ranges:
                for place in range(begin, begin + size, CHUNK_BYTES):
                    self._go_on()
                    file.write(memory[place : min(place + CHUNK_BYTES, begin + size)])
            written = file.finish()
            self._go_on()
        return {"size_bytes": written.size_bytes, "digest": written.digest}

    def _go_on(self) -> None:
        """Raise `Abandoned` if the run has ended: during a write it sends nothing else."""
        if select.select([self._orders], [], [], 0)[0]:
            raise Abandoned


def remove(path: Path, *, with_folder: bool) -> None:
    """Remove an unfinished file, and the folder of which it is the only content."""
    with contextlib.suppress(OSError):  # the next start of the run may be removing it, too
        os.unlink(path)
        if with_folder:
            os.unlink(path.parent / LOCK_NAME)
            os.rmdir(path.parent)


def ignore_signals() -> None:
    """Outlive whatever asks the run for its end: the run ends this process when it is done."""
    for number in signal.valid_signals() - NOT_IGNORED:
        with contextlib.suppress(OSError, ValueError):  # those that the C library keeps
            signal.signal(number, signal.SIG_IGN)
    # They were blocked by the run, until here.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def main(arguments: list[str]) -> NoReturn:
    """Serve the run that started this process."""
    ignore_signals()
    with contextlib.suppress(OSError):  # a limit that the system sets
        os.nice(NICENESS)
    orders, answers, memory = map(int, arguments)
    with contextlib.suppress(BrokenPipeError):  # the run has ended
        Writer(os.fdopen(orders, "rb"), os.fdopen(answers, "wb"), memory).serve()
    os._exit(0)  # at once: nothing is left to clean up


if __name__ == "__main__":
    main(sys.argv[1:])
