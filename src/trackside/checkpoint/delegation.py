"""Tensors of checkpoints written by another process, so that the interpreter goes on training.

The process (`writer_process`) is started once, reads the tensors from shared memory, and answers
with size and digest of the file. Folder, state, records, manifest and the final name stay with the
run: if the process dies, the run writes the file itself, and starts another process for the next.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final, get_args

from trackside.checkpoint.files import FileEntry
from trackside.checkpoint.shared_memory import SharedMemory
from trackside.checkpoint.tensors import Piece
from trackside.errors import ConfigurationError

WriterChoice = Literal["auto", "process", "thread"]
WritePieces = Callable[[Path, Sequence[Piece], int], list[FileEntry]]
"""Writes a rank's pieces into a folder, flushed; returns the files. Raises `OSError`."""

PROCESS_FROM_BYTES = 32 * 2**20
"""Size of a rank's tensors from which on `auto` takes the process; measured, see the docs."""
MOST_DEATHS = 3
"""So many processes may die in a run; after that, a thread writes."""
_SECONDS_TO_END = 10.0
_SECONDS_TO_DIE = 1.0
_MODULE = "trackside.checkpoint.writer_process"
_PACKAGES = str(Path(__file__).parents[2])


def check_choice(writer: str, *, background: bool) -> None:
    """Refuse a choice that doesn't exist, or would have no effect. `ConfigurationError`."""
    if writer not in get_args(WriterChoice):
        raise ConfigurationError(
            f"writer={writer!r} can't write checkpoints",
            expected="'auto', 'process' or 'thread'",
            option="writer",
        )
    if writer != "auto" and not background:
        raise ConfigurationError(
            f"writer={writer!r} has no effect with background=False: the loop itself writes",
            option="writer",
            remedy="leave one of the two out",
        )


def shared_from_bytes(choice: WriterChoice) -> float:
    """Size of a rank's tensors from which on a process writes them."""
    return {"auto": PROCESS_FROM_BYTES, "process": 0, "thread": float("inf")}[choice]


@final
class WriterProcess:
    """Has pieces written by another process.

    Args:
        alone: Whether no other rank writes into the same folder.
    """

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self._memory: SharedMemory | None = None
        self._line: _Line | None = None
        self._deaths = 0
        self._notes: list[str] = []
        self._sent: list[tuple[object, ...]] = []

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        return None if self._line is None else self._line.process.pid

    def start(self, memory: SharedMemory) -> None:
        """Start the process that reads this memory; one that reads another is ended."""
        self.end()
        self._memory = memory
        if not memory.in_memory:
            self._notes.append(
                "this system has no memory without a name: checkpoints go to their writer "
                "through a deleted file in the folder for temporary files"
            )
        self._start()

    def write(self, folder: Path, pieces: Sequence[Piece], rank: int) -> list[FileEntry]:
        """Write this rank's pieces into `folder`, flushed. Returns the files; none for no pieces.

        Raises:
            OSError: as the operating system raised it, here or in the process.
        """
        from trackside.checkpoint.storage import (  # noqa: PLC0415 - start-up time
            shard_file_name,
            write_pieces,
        )

        if not pieces or self._memory is None or self._deaths >= MOST_DEATHS:
            return write_pieces(folder, pieces, rank)
        path = folder / shard_file_name(rank + 1)
        order = {"path": str(path), "with_folder": self._alone}
        try:
            layout = self._layout(pieces)
            if layout is None:
                return write_pieces(folder, pieces, rank)
            answer = self._ask({**order, **layout})
        except _Died as death:
            self._bury(death)
            path.unlink(missing_ok=True)
            return write_pieces(folder, pieces, rank)
        return [FileEntry(path.name, answer["size_bytes"], answer["digest"])]

    def take_notes(self) -> tuple[str, ...]:
        """Notes for a person since the last call: above all, that the process died."""
        notes, self._notes = tuple(self._notes), []
        return notes

    def end(self) -> None:
        """End the process: it has nothing to do."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _start(self) -> None:
        assert self._memory is not None, "given before"
        self._sent = []
        try:
            self._line = _Line(self._memory.file)
        except OSError as error:
            self._deaths = MOST_DEATHS
            self._notes.append(f"a thread writes the checkpoints, no process could start: {error}")

    def _layout(self, pieces: Sequence[Piece]) -> dict[str, Any] | None:
        """The order's part that changes seldom: empty when it is what was sent before."""
        from trackside.checkpoint.storage import header_and_order  # noqa: PLC0415 - start-up time

        if self._line is None:
            self._start()
        # The tensors are kept: another one can't have the id of one of them.
        now: list[tuple[object, ...]] = [tuple(piece) for piece in pieces]
        if len(now) == len(self._sent) and all(map(_is_same, now, self._sent)):
            return {}
        assert self._memory is not None, "given before"
        header, ordered = header_and_order(pieces)
        ranges = self._memory.ranges(ordered)
        if ranges is None:
            return None
        self._sent = now
        return {"header": header.hex(), "ranges": ranges}

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        if self._line is None:
            raise _Died("it could not be started")
        try:
            answer = self._line.ask(order)
        except _Died:
            raise
        except BaseException as error:  # the next order would get the answer to this one
            self._line.end_at_once(repr(error))
            self._line = None
            raise
        if "errno" in answer:
            raise OSError(answer["errno"], answer["reason"], answer["file"])
        if "failed" in answer:
            raise _Died(answer["failed"])
        return answer

    def _bury(self, death: _Died) -> None:
        line, self._line = self._line, None
        how = str(death) if line is None else line.end_at_once(str(death))
        self._deaths += 1
        then = "the next one has a new process" if self._deaths < MOST_DEATHS else "so do the next"
        self._notes.append(
            f"the process that writes checkpoints ended: {how}; a thread wrote this one, {then}"
        )


class _Died(Exception):
    """The process is gone, or can't write."""


@final
class _Line:
    """A process, and the pipes to it and from it."""

    def __init__(self, memory: int) -> None:
        if not sys.executable:
            raise FileNotFoundError(errno.ENOENT, "where Python is was not found out")
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        inherited = (orders, answers, memory)
        path = os.pathsep.join(filter(None, (_PACKAGES, os.environ.get("PYTHONPATH"))))
        try:
            # -P: nothing is imported from the folder that it runs in.
            command = [sys.executable, "-P", "-m", _MODULE, *map(str, inherited)]
            with _signals_blocked():
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=inherited,
                    cwd="/",
                    env={**os.environ, "PYTHONPATH": path},
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._orders)
            os.close(self._answers)
            raise
        finally:
            os.close(orders)
            os.close(answers)
        self._reading = os.fdopen(self._answers, "rb", closefd=False)
        files = (self._orders, self._answers)
        _OPEN.add(ends := _Ends(files))
        self._close = weakref.finalize(self, _end, self.process, ends, os.getpid())

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """The answer to an order. Waits without the interpreter's lock."""
        data = memoryview(json.dumps(order).encode("ascii") + b"\n")
        try:
            with _broken_pipe_is_an_error():
                while data:
                    data = data[os.write(self._orders, data) :]
            line = self._reading.readline()
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            raise _Died("without an answer")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Let the process end; it is waited for."""
        self._close()

    def end_at_once(self, reason: str) -> str:
        """End the process, if it hasn't: it writes nothing any more. Returns how it ended."""
        code = None
        with contextlib.suppress(subprocess.TimeoutExpired):  # its pipe breaks before it has ended
            code = self.process.wait(_SECONDS_TO_DIE)
        self.process.kill()
        self.process.wait()
        self._close()
        if code is None:
            return reason
        return signal.Signals(-code).name if code < 0 else f"with the exit code {code}"


@dataclass(eq=False, slots=True, weakref_slot=True)
class _Ends:
    """The descriptors of this side."""

    files: tuple[int, ...]

    def close(self) -> None:
        files, self.files = self.files, ()
        for file in files:
            os.close(file)


_OPEN: weakref.WeakSet[_Ends] = weakref.WeakSet()


def _leave_to_parent() -> None:
    """In a forked child: a pipe that it kept open would let the process outlive the run."""
    for ends in list(_OPEN):
        ends.close()


os.register_at_fork(after_in_child=_leave_to_parent)


def _end(process: subprocess.Popen[bytes], ends: _Ends, owner: int) -> None:
    if os.getpid() != owner:  # a forked child: the process is its parent's
        return
    ends.close()
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """A process that is started inside begins with all signals blocked, until it ignores them."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


@contextlib.contextmanager
def _broken_pipe_is_an_error() -> Iterator[None]:
    """Writing to a pipe whose reader died ends no program, even one that asked for that."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])
    try:
        yield
    except BrokenPipeError:
        if signal.SIGPIPE in signal.sigpending():
            signal.sigwait([signal.SIGPIPE])
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _is_same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    """Whether two pieces are one: the same tensor, under the same key and at the same place."""
    return one[1] is other[1] and one[0] == other[0] and one[2:] == other[2:]
