"""Checkpoint: saves everything that a run needs to go on exactly."""

from __future__ import annotations

import bisect
import errno
import logging
import math
from collections import deque
from pathlib import Path
from typing import Any, Literal, final

from trackside.callbacks.saving.save_memory import (
    check_memory,
    held_by_saves,
    limit_bytes,
    wait_shown,
)
from trackside.callbacks.saving.state_of_run import check_finite, metrics_of_this_step, stand
from trackside.checkpoint import (
    CheckpointWriteError,
    CheckpointWriter,
    Retention,
    SizeEstimate,
)
from trackside.checkpoint.commit import Saved, Saving
from trackside.checkpoint.delegation import WriterChoice, check_choice
from trackside.checkpoint.saver import Saver
from trackside.errors import CheckpointError, ConfigurationError
from trackside.history import Record
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.machine.paths import local_path
from trackside.outcome import Outcome
from trackside.run import Rollback, Run
from trackside.run_folder.inside import folder_inside
from trackside.schedule import Schedule
from trackside.step.began_infinite import began_infinite
from trackside.step.memory import Held
from trackside.vocabulary.renamed import refuses_old_names

logger = logging.getLogger("trackside")


@final
@refuses_old_names
class Checkpoint(PeriodicCallback, Saver):
    """Saves checkpoints of the whole run: on a schedule, at the end, on a stop, on a signal.

    A checkpoint is a folder `step-0000001200/`; what is saved later at the same step is
    `step-0000001200-2`: further on, say after the epoch's evaluations, and then the former no
    longer counts among those that stay; or with weights that were changed for the end, and then
    without metrics, which belong to the former. It is written in the background under a temporary
    name, flushed and renamed: it exists whole or not at all. `Trainer.fit(..., resume="auto")` goes
    on from the newest that verifies, bitwise as if the run had never stopped. Nothing is pickled.

    Args:
        every: When to save; None saves at the end, on a stop and on a signal only.
        keep_last: How many of the newest stay. None keeps all; where `keep_best` or
            `keep_every_steps` says what stays, beside that the newest one.
        keep_best: How many of the best by `monitor` stay beside them. A value that is among the
            best is saved at the step at which it is recorded, whether `every` is due there or not.
        monitor: Full name of the metric that ranks checkpoints, such as `val/loss`.
        mode: Whether lower (`min`) or higher (`max`) values of `monitor` are better.
        keep_every_steps: One in every so many steps stays forever.
        min_seconds: How old the last one must be, by the clock of rank 0, for the next to be due at
            an epoch's end. The checkpoint among the default callbacks has 30: short epochs don't
            wait for the disk, and a kill loses at most that and one epoch.
        at_end: Whether to save when training ends: completed, or at the stop, before anything is
            done for the end. Where weights were changed for the end (the best were restored), once
            more.
        save_on_failure: Whether to save when an evaluation fails (a metric, its data), or a
            callback between two steps, before the error ends the run: no step is lost, and the
            evaluation is repeated after a resume. An error in a step saves nothing, because half a
            step can't be resumed exactly; nor does an evaluation of several ranks.
        folder: Where, below the run's folder.
        background: Whether it is written while training goes on. The loop waits for a copy in host
            memory only.
        writer: What writes the tensors in the background: a `thread`, or a `process` that is
            started once, after the first step, and takes no time of the interpreter that trains.
            `auto` takes the process where a rank's tensors in host memory have 32 MB or more: below
            that it spares some milliseconds. Tensors that an accelerator holds are written by the
            thread.
        memory_gigabytes: The most host memory that a copy of a rank's state may take, in 10^9
            bytes. A larger state is written while training waits. None: as much as it has.
        on_save_error: `raise` ends the run when a checkpoint can't be saved, whatever the reason:
            the disk, memory, weights that aren't finite, state that can't be saved. `warn` goes on
            and tries again when the next one is due, and so does `on_error: warn`. The former
            checkpoints stay whole in any case.

    Raises:
        ConfigurationError: `keep_best` without `monitor`, or the other way round; `writer` or
            `memory_gigabytes` without `background`.

    Example:
        >>> Checkpoint(every="10 minutes", keep_last=2, keep_best=1, monitor="val/loss")
    """

    effect = "steers"
    writes = ("folder",)
    runs_in = ("fit",)

    def __init__(
        self,
        every: Schedule | str | None = "1 epoch",
        *,
        keep_last: int | None = 2,
        keep_best: int | None = None,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        keep_every_steps: int | None = None,
        min_seconds: float = 0.0,
        at_end: bool = True,
        save_on_failure: bool = True,
        folder: str | Path = "checkpoints",
        background: bool = True,
        writer: WriterChoice = "auto",
        memory_gigabytes: float | None = None,
        on_save_error: Literal["raise", "warn"] = "raise",
    ) -> None:
        super().__init__(every)
        if on_save_error not in ("raise", "warn"):
            raise ConfigurationError(
                f"on_save_error={on_save_error!r} isn't a policy",
                expected="'raise' or 'warn'",
                option="on_save_error",
            )
        check_choice(writer, background=background)
        check_memory(memory_gigabytes, background=background)
        if not min_seconds >= 0:
            raise ConfigurationError(
                f"min_seconds={min_seconds!r} can't be used",
                expected="0 or more",
                option="min_seconds",
            )
        self.min_seconds = min_seconds
        self.retention = Retention(keep_last, keep_best, monitor, mode, keep_every_steps)
        self.monitors = () if monitor is None else (monitor,)
        self.at_end = at_end
        self.save_on_failure = save_on_failure
        self.folder = str(local_path(folder, "folder"))
        self.background = background
        self.writer = writer
        self.memory_gigabytes = memory_gigabytes
        self.on_save_error = on_save_error
        self.size: SizeEstimate | None = None
        """Bytes of one checkpoint, and free bytes; known once training starts."""
        self.last: Path | None = None
        """The newest checkpoint of this run that is whole."""
        self.needs_attention = False
        self._pinned_step: int | None = None
        self._writer: CheckpointWriter | None = None
        self._lacks_memory = False
        self._saved_at = (-1, 0, 0)
        self._saved_seconds = -math.inf
        self._sign = 1.0 if mode == "min" else -1.0
        self._best: list[float] = []
        self._best_is_due = False
        self._began_infinite: dict[str, frozenset[str]] = {}
        self._untold: deque[Saved] = deque()

    @property
    def is_writing(self) -> bool:
        """Whether a checkpoint is being written in the background."""
        return self._writer is not None and self._writer.in_flight

    def on_attach(self, run: Run) -> None:
        if run.saver is not None:
            raise ConfigurationError(
                "two callbacks want to save the run's checkpoints",
                received="a second `Checkpoint`",
                remedy="keep one: it has several schedules, as `Checkpoint(Every(epochs=1) | "
                "Every(steps=10))`, and keeps the last and the best at once",
            )
        run.saver = self
        self.waits = False
        self.last = None
        self._pinned_step = None
        self._writer = None
        self._saved_at = (-1, 0, 0)
        self._best_is_due = False
        self._untold.clear()
        self.needs_attention = False

    def held(self, run: Run, model_bytes: int, state_bytes: int) -> list[Held]:
        """The copy of the state in host memory that a save is written from."""
        return held_by_saves(self, run, state_bytes)

    def root(self, run: Run) -> Path:
        """The folder that holds the run's checkpoints."""
        return run.directory / self.folder

    def prepare(self, run: Run, shared: dict[str, Any], own: dict[str, Any]) -> None:
        """Before the first step: can it be written, can the state be saved, how large is it."""
        if run.world.is_global_zero:
            self._refuse_a_link(run)
        self._began_infinite = began_infinite(run.models)
        self._saved_seconds = -math.inf if run.resumed_from is None else run.progress.seconds
        self._writer = CheckpointWriter(
            self.root(run),
            run.id,
            background=self.background,
            writer=self.writer,
            retention=self.retention,
            resumed_from=run.resumed_from,
            ranks=run.world.beside(),
            copy_limit_bytes=limit_bytes(self.memory_gigabytes),
        )
        for note in self._writer.notes:
            logger.info("%s", note)
        self.size = self._writer.prepare(shared, own)
        self._lacks_memory = self.background
        self.needs_attention = self._lacks_memory
        if self.size.free_bytes < 2 * self.size.size_bytes:
            logger.warning(
                "a checkpoint needs %.1f MB, and %s has %.1f MB left",
                self.size.size_bytes / 1e6,
                self.root(run),
                self.size.free_bytes / 1e6,
            )

    def _refuse_a_link(self, run: Run) -> None:
        try:
            folder_inside(run.directory, self.folder)
        except OSError as error:
            raise CheckpointWriteError(
                f"checkpoints can't be written to {self.root(run)}: {error.strerror}",
                remedy="name the folder that is meant: Checkpoint(folder='/large/disk/mine')"
                if error.errno == errno.ELOOP
                else None,
            ) from error

    def pin(self, run: Run) -> None:
        """Let a checkpoint of the step that is completed now stay forever; ask for it as well."""
        self._pinned_step = run.progress.steps_completed

    def on_log(self, run: Run, record: Record) -> None:
        best, value = self.retention.keep_best, record.values.get(self.retention.monitor or "")
        if best is None or value is None or not math.isfinite(value):
            return
        if not self._is_among_the_best(value, best):
            return
        # What is recorded after the pass of an epoch is saved with its end.
        self._best_is_due = run.progress.epochs_completed > run.progress.epochs_closed
        if not self._best_is_due:
            run.save(f"{self.monitors[0]} is among the best", all_ranks=True)

    def _is_among_the_best(self, value: float, count: int) -> bool:
        """Whether fewer than `count` values so far are as good; from then on it is one of them."""
        place = bisect.bisect_right(self._best, signed := self._sign * value)
        self._best.insert(place, signed)
        del self._best[count:]
        return place < count

    def _start(self, run: Run) -> None:
        super()._start(run)
        self._best.clear()
        if self.retention.keep_best is not None:
            values = run.history.values(self.monitors[0])
            finite = sorted(self._sign * value for value in values if math.isfinite(value))
            self._best = finite[: self.retention.keep_best]

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        is_old = run.progress.seconds - self._saved_seconds >= self.min_seconds
        if self._after_epochs.crossed(run.progress) and is_old:
            run.save(f"every {self.every}")  # each rank has its own clock
        elif self._best_is_due:
            run.save(f"{self.monitors[0]} is among the best", all_ranks=True)
        self._best_is_due = False

    def on_due(self, run: Run) -> None:
        # By counts, all ranks ask for it at this step; by a clock, each when its own says so.
        by_clock = "seconds" in self.every.units if self.every else True
        run.save(f"every {self.every}", all_ranks=not by_clock)

    def on_stop(self, run: Run, reason: str) -> None:
        # At the stop itself: what is recorded of an epoch that was cut short, or done for the end,
        # would be in the way of a run that goes on.
        if self.at_end and self._saved_at != stand(run):
            run.save(f"the stop: {reason}")

    def on_fit_end(self, run: Run) -> None:
        super().on_fit_end(run)
        asked = any(request.kind == "save" for request in run.requests)
        if self.at_end and not asked and self._saved_at != stand(run):
            run.save("the end of training")

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        super().on_roll_back(run, rollback)
        self._saved_at = (-1, 0, 0)  # no checkpoint knows of this return yet

    def save(self, run: Run, shared: dict[str, Any], own: dict[str, Any], reason: str) -> None:
        """Copy the state and have it written. Called by the loop at a safe point."""
        if self._writer is None:
            raise CheckpointError("a checkpoint was asked for before training started")
        self.needs_attention = True
        try:
            self._save(self._writer, run, shared, own, reason)
        except Exception as error:  # of any kind: out of memory, no thread, a state, a disk
            self._failed(error)
        else:
            self._saved_at, self._saved_seconds = stand(run), run.progress.seconds
        if self.waits:
            self.finish_saves(run)

    def _save(
        self,
        writer: CheckpointWriter,
        run: Run,
        shared: dict[str, Any],
        own: dict[str, Any],
        reason: str,
    ) -> None:
        progress = run.progress
        check_finite(run, shared["models"], self._began_infinite)
        now = stand(run)
        at_this_step, same = self._saved_at[0] == now[0], self._saved_at[2] == now[2]
        saving = Saving(
            step=progress.steps_completed,
            progress=progress.state_dict(),
            # Measured with other weights, when they have been changed since, say for the end.
            metrics={} if at_this_step and not same else metrics_of_this_step(run),
            reason=reason,
            pinned=self._pinned_step == progress.steps_completed,
            again=at_this_step and same,
        )
        writer.save(shared, saving, rank_state=own)

    def poll(self, run: Run) -> None:
        """Report checkpoints completed since the last time, and failures."""
        if self._writer is None:
            return
        try:
            self._untold += self._writer.poll()
        except Exception as error:
            self._untold += self._writer.poll()
            self._failed(error)
        while self._untold:  # an error of who is told must not keep the next from being told
            self._announce(run, self._untold.popleft())
        self.needs_attention = self._writer.in_flight or self._lacks_memory
        if self._lacks_memory and run.progress.steps_completed:  # optimizers have their tensors
            self._lacks_memory = False
            models = {name: model.state_dict() for name, model in run.models.items()}
            optimizers = {name: one.state_dict() for name, one in run.optimizers.items()}
            try:
                self._writer.allocate({"models": models, "optimizers": optimizers})
            except Exception as error:  # as in a save, which would meet the same
                self._failed(error)

    def finish_saves(self, run: Run) -> None:
        """Wait for the checkpoint that is being written, and report it."""
        if self._writer is None:
            return
        try:
            before = self._writer.seconds_waited
            wait_shown(self._writer, "the checkpoint", shows=run.world.is_global_zero)
            self._writer.close()
            seconds = self._writer.seconds_waited - before
        except Exception as error:
            self._failed(error)
            seconds = 0.0
        if seconds > 1:
            logger.info("waited %.1f s for a checkpoint to be written", seconds)
        self.poll(run)

    def _announce(self, run: Run, saved: Saved) -> None:
        self.last, self.blocked_seconds = saved.path, self.blocked_seconds + saved.seconds_blocked
        for note in saved.notes:
            logger.warning("%s", note)
        run.emit(Callback.on_checkpoint_saved, saved.path)

    def _failed(self, error: Exception) -> None:
        self._saved_at = (-1, 0, 0)  # to be tried again at the end, or when the next is due
        self._saved_seconds = -math.inf
        if "warn" not in (self.on_save_error, self.on_error):
            raise error
        logger.warning(
            "%s: %s\n  training goes on; the former checkpoints are whole",
            type(error).__name__,
            error,
        )

    def on_close(self, run: Run, outcome: Outcome) -> None:
        try:
            self.finish_saves(run)
        finally:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.end()
