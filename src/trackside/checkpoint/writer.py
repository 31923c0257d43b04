"""The writer: saves one checkpoint after the other, in the background or at once."""

from __future__ import annotations

import collections
import logging
import math
import secrets
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from trackside.checkpoint.commit import Saved, Saving, commit
from trackside.checkpoint.delegation import (
    WriterChoice,
    WriterProcess,
    check_choice,
    shared_from_bytes,
)
from trackside.checkpoint.files import explain, flush_folder
from trackside.checkpoint.host_buffers import HostBuffers
from trackside.checkpoint.ledger import Ledger
from trackside.checkpoint.lineage import Return
from trackside.checkpoint.manifest import is_run_id
from trackside.checkpoint.pruning import Pruned, prune
from trackside.checkpoint.ranks import SINGLE_RANK, Ranks, together
from trackside.checkpoint.record_file import RecordFile
from trackside.checkpoint.retention import Retention
from trackside.checkpoint.selection import Candidate, candidates
from trackside.checkpoint.snapshot import (
    Snapshot,
    allocate_for,
    parts_bytes_of,
    size_estimate_bytes,
    take_snapshot,
)
from trackside.checkpoint.temporary import clean_leftovers
from trackside.errors import ConfigurationError
from trackside.machine.paths import local_path

KEEP_ALL = Retention()
logger = logging.getLogger("trackside")


@dataclass(frozen=True, slots=True)
class SizeEstimate:
    """Space that a checkpoint will need."""

    size_bytes: int
    """Of this rank's part, within a few per cent."""
    free_bytes: int
    """On the file system of the folder, now."""


@dataclass(slots=True)
class _Job:
    """A save under way."""

    snapshot: Snapshot | Exception
    saving: Saving
    sequence: int
    started: float
    seconds_blocked: float | None = None
    """How long `save` took; None when it takes as long as the writing."""
    may_begin: threading.Event = field(default_factory=threading.Event)


def _started(thread: threading.Thread) -> bool:
    """Start a thread; False when the system can't."""
    try:
        thread.start()
    except RuntimeError as error:
        logger.warning("a checkpoint is written at once, without a thread: %s", error)
        return False
    return True


def new_run_id() -> str:
    """An id that no other run has."""
    return secrets.token_hex(8)


@final
class CheckpointWriter:
    """Saves the checkpoints of a run, in order, at most one at a time.

    In the background, `save` returns when the state is copied to host memory, and a thread writes
    it; a save that comes before the former is written waits for it. An error of the thread is kept
    and raised by the next `poll`, `save` or `close`, once. The writer can be used again after it.

    The thread is joined at the end of the interpreter: a save is never cut by an exit, only by a
    kill. After a fork the writer must not be used in the child.

    Args:
        root: Folder of the checkpoints; made if it doesn't exist.
        run_id: Of the run; a resumed run passes that of its checkpoint's manifest.
        background: Whether to write in the background. False writes before `save` returns, without
            a second copy of the state in host memory.
        writer: Which background writes the tensors: a thread of this process, another process that
            is started once and ends with `end`, or by `auto` the process where this rank's tensors
            have 32 MB or more. All else is written by a thread in any case.
        retention: Which checkpoints stay; applied after each save, on rank 0.
        resumed_from: Folder of the checkpoint that the run goes on from. Retention doesn't delete
            it before a newer one of this run verifies.
        ranks: The processes that save together. All of them make a writer and call the same
            methods in the same order.
        copy_limit_bytes: The most host memory that a copy of this rank's state may take. A larger
            state is written before `save` returns, from where it is.

    Raises:
        CheckpointWriteError: when the folder can't be made or written to.
    """

    def __init__(
        self,
        root: str | Path,
        run_id: str,
        *,
        background: bool = True,
        writer: WriterChoice = "auto",
        retention: Retention = KEEP_ALL,
        resumed_from: str | Path | None = None,
        ranks: Ranks = SINGLE_RANK,
        copy_limit_bytes: float = math.inf,
    ) -> None:
        if not is_run_id(run_id):
            raise ConfigurationError(
                f"{run_id!r} can't be the id of a run",
                expected="1 to 64 letters, digits, `_` or `-`",
                option="run_id",
            )
        check_choice(writer, background=background)
        self.root = local_path(root, "root").absolute()
        self.run_id = run_id
        self.notes: tuple[str, ...] = ()
        """Notes for a person about the folder as it was found."""
        self.seconds_waited = 0.0
        """How long `save` and `close` waited for a save under way, altogether."""
        self._retention = retention
        self._ranks = ranks
        self._process = WriterProcess(alone=ranks.size == 1)
        shared = shared_from_bytes(writer)
        self._buffers = HostBuffers(shared, self._process.start) if background else None
        self._copy_limit_bytes = copy_limit_bytes
        self._parts_bytes: dict[str, int] = {}
        self._ledger: Ledger | None = None
        self._records: RecordFile | None = None
        self._sequence = 0
        self._thread: threading.Thread | None = None
        self._saved: collections.deque[Saved] = collections.deque()
        self._error: BaseException | None = None
        together(
            ranks,
            lambda: self._open_folder(resumed_from),
            failure=f"checkpoints can't be written to {self.root}",
        )

    @property
    def in_flight(self) -> bool:
        """Whether a save is being written."""
        return self._thread is not None and self._thread.is_alive()

    def prepare(self, state: Any, rank_state: Any = None) -> SizeEstimate:
        """See before the first step whether a state like this can be saved, and how large it is.

        Args:
            state: What will be given to `save`, as it is now. Tensors may come later (those of an
                optimizer do).
            rank_state: The same for what this rank alone knows.

        Raises:
            UnsavableStateError: names each leaf that can't be saved.
        """
        size_bytes = size_estimate_bytes(state, rank_state)
        self._parts_bytes = parts_bytes_of(state)
        # Here and not beside the steps: an import holds the interpreter's lock.
        import trackside.checkpoint.storage  # noqa: F401, PLC0415

        return SizeEstimate(size_bytes, shutil.disk_usage(self.root).free)

    def allocate(self, state: Mapping[str, Any]) -> None:
        """Get the host memory for saves, and start the process that writes them, beside the loop.

        Args:
            state: The part of what will be given to `save` that holds most tensors, as it is after
                the first step, when the optimizers have their own.
        """
        self._keep_to_limit(state, None)
        if self._buffers is not None:
            allocate_for(state, self._ranks.rank, self._buffers, self._parts_bytes)

    def save(self, state: Any, saving: Saving, *, rank_state: Any = None) -> None:
        """Save a checkpoint; `poll` says when it is there.

        Args:
            state: What all ranks share: nested dicts and lists, see `splitting`. Whole tensors are
                those of rank 0; of DTensors each rank writes its part.
            saving: What is said about it.
            rank_state: What this rank alone knows, or None.

        Raises:
            UnsavableStateError: names each leaf that can't be saved.
            CheckpointWriteError: the failure of the former save, before this one was begun; without
                background, of this one.
        """
        started = time.perf_counter()
        self._wait()
        self._raise_kept()
        self._keep_to_limit(state, rank_state)
        snapshot = self._snapshot(state, rank_state)
        self._sequence += 1
        job = _Job(snapshot, saving, self._sequence, started)
        if self._buffers is None:
            job.may_begin.set()
            self._write(job)
            self._raise_kept()
            return
        thread = threading.Thread(
            target=self._write,
            args=(job,),
            name=f"checkpoint of step {saving.step}",
            daemon=False,  # an exit of the interpreter waits for it
        )
        try:
            if not _started(thread):  # the system has no more threads: then at once
                job.may_begin.set()
                self._write(job)
                return
            job.seconds_blocked = time.perf_counter() - started
        finally:
            if thread.ident is not None:  # also when a signal came in between
                self._thread = thread
            # Only now: a thread that begins to work at once keeps the interpreter's lock, and the
            # loop, for the milliseconds until its turn is over.
            job.may_begin.set()

    def _keep_to_limit(self, state: Any, rank_state: Any) -> None:
        """Give up the background where a copy takes more than it may."""
        if self._buffers is None or self._copy_limit_bytes == math.inf:
            return
        size_bytes = size_estimate_bytes(state, rank_state)
        if size_bytes > self._copy_limit_bytes:
            self._buffers = None
            logger.warning(
                "training waits while checkpoints are written: a copy of the state would take "
                "%.1f MB, and may take %.1f MB",
                size_bytes / 1e6,
                self._copy_limit_bytes / 1e6,
            )

    def _snapshot(self, state: Any, rank_state: Any) -> Snapshot | Exception:
        """The part of this rank; of several, an error too, which all have to hear of."""
        try:
            return take_snapshot(state, rank_state, rank=self._ranks.rank, buffers=self._buffers)
        except Exception as error:
            if self._ranks.size == 1:
                raise
            return error

    def poll(self) -> list[Saved]:
        """The checkpoints that have become whole since the last call, oldest first.

        Raises:
            CheckpointWriteError: when a save failed; the next call returns the others.
        """
        self._raise_kept()
        return [self._saved.popleft() for _ in range(len(self._saved))]

    def wait(self, seconds: float) -> bool:
        """Wait so long for the save under way; whether none is left."""
        started = time.perf_counter()
        if self._thread is not None:
            self._thread.join(seconds)
        self.seconds_waited += time.perf_counter() - started
        return not self.in_flight

    def close(self) -> float:
        """Wait for the save under way. Returns the seconds that took; `poll` still answers.

        Raises:
            CheckpointWriteError: when a save failed.
        """
        seconds = self._wait()
        self._raise_kept()
        return seconds

    def end(self) -> None:
        """After the last save: give up what only further saves would need."""
        self._wait()
        self._process.end()
        if self._records is not None:
            self._records.discard()

    def _open_folder(self, resumed_from: str | Path | None) -> None:
        if self._ranks.rank != 0:
            return
        self.root.mkdir(parents=True, exist_ok=True)
        flush_folder(self.root.parent)
        removed = clean_leftovers(self.root, self.run_id)
        self._ledger = Ledger(self.root, self.run_id)
        self._records = RecordFile(self.root, self.run_id)
        notes = [f"removed what a killed save left behind: {name}" for name in removed]
        self.notes = (*notes, self._ledger.note) if self._ledger.note else tuple(notes)
        found = candidates(self.root)
        numbers = [each.manifest.sequence for each in found if each.manifest]
        # Those that the run has left behind may lie in another folder; their numbers are taken.
        numbers += [one.after for one in self._ledger.returns]
        self._sequence = max(numbers, default=0)
        origin = None if resumed_from is None else local_path(resumed_from).absolute()
        is_here = origin is not None and origin.parent.resolve() == self.root.resolve()
        name = origin.name if origin is not None and is_here else None
        back = None if origin is None else self._return_to(name, found)
        # Written in any case: a folder that can't be written to is found before the first step.
        self._ledger.protect(name, back)

    def _return_to(self, name: str | None, found: list[Candidate]) -> Return | None:
        """The return that going on from the checkpoint `name` is; None from the newest.

        Args:
            name: None: it lies in another folder.
            found: All checkpoints here.
        """
        to, newest = 0, 0
        for each in found:
            if each.manifest is not None and each.manifest.run_id == self.run_id:
                to = each.manifest.sequence if each.path.name == name else to
                newest = newest if each.left_behind else max(newest, each.manifest.sequence)
        return None if to == newest else Return(to, self._sequence)

    def _wait(self) -> float:
        if self._thread is None:
            return 0.0
        started = time.perf_counter()
        self._thread.join()
        self._thread = None
        seconds = time.perf_counter() - started
        self.seconds_waited += seconds
        return seconds

    def _raise_kept(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self, job: _Job) -> None:
        job.may_begin.wait()
        try:
            saved = commit(
                job.snapshot,
                job.saving,
                root=self.root,
                run_id=self.run_id,
                sequence=job.sequence,
                ranks=self._ranks,
                ledger=self._ledger,
                records=self._records,
                write=self._process.write,
            )
            pruned = self._prune()
        except BaseException as error:  # raised by the next call in the loop's thread
            self._error = error
            return
        blocked = job.seconds_blocked
        if blocked is None:
            blocked = time.perf_counter() - job.started
        notes = (*self._process.take_notes(), *pruned.notes)
        saved = replace(saved, deleted=pruned.deleted, notes=notes)
        self._saved.append(replace(saved, seconds_blocked=blocked))

    def _prune(self) -> Pruned:
        if self._ledger is None:
            return Pruned()
        try:
            return prune(self._ledger, self._retention)
        except OSError as error:  # the checkpoint is there: an old one too many is not a failure
            return Pruned(notes=(f"old checkpoints were not deleted: {explain(error)}",))
