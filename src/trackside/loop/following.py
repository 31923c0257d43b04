"""Steps that follow a checkpoint: noted as they happen, and compared after a resume from it.

Noted are the samples of each batch, a digest of their contents, and the losses. Digests are made
and written beside the loop, by a thread, unless batches are small; in steps without a checkpoint
shortly before them, nothing is done. The notes lie beside the ledger, so that a checkpoint is never
written twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, final

from torch import Tensor

from trackside.data.batches import changed, parts_of
from trackside.data.fingerprints import digest, glimpse
from trackside.data.loaded import Origin, Turn
from trackside.errors import CheckpointError
from trackside.loop.followed import Note, differences, read_notes
from trackside.run_folder.inside import append_inside

if TYPE_CHECKING:
    from trackside.loop.state import Training
    from trackside.run import Run

logger = logging.getLogger("trackside")

STEPS = 3
"""Steps after a checkpoint that are noted and compared."""
WHOLE_BYTES = 64 * 2**20
"""Size up to which all of a batch goes into its digest; of a larger one, a few entries."""
TOGETHER_BYTES = 2**20
"""Size of batches up to which one thread notes all steps after a checkpoint, once they are over."""
AT_ONCE_BYTES = 2**17
"""Size of batches up to which the loop notes steps itself, where losses are on the host: a tenth of
a millisecond, less than a thread takes to start beside the one that writes the checkpoint."""
Policy = Literal["warn", "raise"]


class ResumeDiffersError(CheckpointError):
    """A resumed run takes another step than the one that followed its checkpoint before."""


@dataclass(slots=True)
class _Step:
    """A step under way: its batches as copies on the host, its losses where they are."""

    number: int
    keys: tuple[str, ...]
    """The checkpoints that it follows."""
    samples: list[list[int] | None] = field(default_factory=list)
    batches: list[Any] = field(default_factory=list)
    """Copies; or digests, of batches that are too large."""
    losses: list[Tensor] = field(default_factory=list)
    size_bytes: int = 0
    """Of the copies."""


@final
class Following:
    """Notes the steps after each checkpoint of a run, and compares those after a resume.

    Args:
        run: The run.
        record_loss: Where the loop keeps pairs of loss and weight.
        when_differs: `raise` or `warn`, for a step that is another one.
        exact: Whether losses have to be the same to the last bit.
    """

    def __init__(self, run: Run, record_loss: Any, when_differs: Policy, *, exact: bool) -> None:
        self._run = run
        self._record_loss = record_loss
        self._when_differs = when_differs
        self._exact = exact
        self.active = False
        """Whether the step under way is noted."""
        self._windows: dict[str, int] = {}
        self._expected: dict[int, Note] = {}
        self._compares_losses = False
        self._step: _Step | None = None
        self._over: list[_Step] = []
        """Steps that are over, and that no thread notes yet."""
        self._threads: list[threading.Thread] = []
        self._noted: dict[int, Note] = {}
        self._wrote_nothing = False

    def begin(self, training: Training, saved: Mapping[str, Any]) -> None:
        """A checkpoint was saved: note the steps that follow.

        Args:
            training: Whose steps.
            saved: The state that went into it.
        """
        self._windows[_key(saved)] = self._run.progress.steps_completed
        self._switch(training, on=True)

    def expect(
        self, training: Training, saved: Mapping[str, Any], folder: Path, *, losses: bool
    ) -> None:
        """The run was resumed: compare the steps that follow with those that did so before.

        Args:
            training: Put back to the checkpoint.
            saved: The state in it.
            folder: Where it lies, with the notes of its run.
            losses: Whether nothing is known that would make other losses.
        """
        key, conditions = _key(saved), self._conditions()
        notes = read_notes(folder, self._file, key)
        self._expected = {one.step: one for one in notes.values() if one.conditions == conditions}
        self._compares_losses = losses
        self._windows[key] = self._run.progress.steps_completed
        self._switch(training, on=True)

    def forget(self, training: Training) -> None:
        """The run went back: its next steps follow no checkpoint as they did before."""
        self._windows.clear()
        self._expected.clear()
        self._step = None
        self._note_beside()
        self._switch(training, on=False)

    def batch(self, training: Training, batch: Any, origin: Origin) -> None:
        """Note a batch as the loader gave it."""
        run, number = self._run, self._run.progress.steps_completed + 1
        if self._step is None or self._step.number != number:
            self._hand_over()
            self._compare(wait=self._when_differs == "raise")
            self._windows = {k: s for k, s in self._windows.items() if number <= s + STEPS}
            if not self._windows:
                if self._expected:
                    self.finish()
                self._note_beside()
                self._switch(training, on=False)
                return
            self._step = _Step(number, tuple(self._windows))
        step, progress = self._step, run.progress
        step.samples.append(_samples(training, progress, origin))
        size = sum(part.nbytes for part in parts_of(batch) if isinstance(part, Tensor))
        step.batches.append(glimpse(batch) if size > WHOLE_BYTES else changed(batch, _copy))
        step.size_bytes += size

    def loss(self, pair: tuple[Tensor, Any]) -> None:
        """Note a loss on its way to the mean of the epoch."""
        if self._step is not None:
            self._step.losses.append(pair[0])
        self._record_loss(pair)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """The steps are over; after an error, they are noted all the same."""
        if kind is None:
            self.finish()
        else:
            self._note_beside()

    def finish(self) -> None:
        """Wait for what is being noted, and compare the rest."""
        self._hand_over()
        self._note_beside()
        self._compare(wait=True)
        self._expected.clear()
        self._noted.clear()

    def _switch(self, training: Training, *, on: bool) -> None:
        self.active = on
        training.setup.sources["train"].remember("now" if on else "not now")
        training.refresh_listeners()

    def _conditions(self) -> list[int]:
        """Numbers without which no step can be the same: ranks and batches per step."""
        return [self._run.world.size, self._run.accumulate]

    @property
    def _file(self) -> str:
        return f"following.{self._run.id}.{self._run.world.rank}.jsonl"

    def _hand_over(self) -> None:
        """The step is over: a thread can note it, at once where it is compared or large."""
        step, self._step = self._step, None
        if step is None or not step.losses:
            return
        self._over.append(step)
        if self._expected or sum(one.size_bytes for one in self._over) > TOGETHER_BYTES:
            self._note_beside()

    def _note_beside(self) -> None:
        """Let a thread note the steps that are over, unless there is next to nothing to do."""
        steps, self._over = self._over, []
        if not steps:
            return
        if _are_small(steps):
            self._note(steps, self._conditions(), self._run.saver)
            return
        arguments = (steps, self._conditions(), self._run.saver)
        thread = threading.Thread(target=self._note, args=arguments, name="trackside-following")
        self._threads = [one for one in self._threads if one.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _note(self, steps: Sequence[_Step], conditions: list[int], saver: Any) -> None:
        lines: list[str] = []
        for step in steps:
            contents = [one if isinstance(one, int) else digest(one) for one in step.batches]
            losses = [float(loss) for loss in step.losses]
            note = Note(step.number, step.samples, contents, losses, conditions)
            before = self._expected.get(step.number)
            if before is not None:
                self._noted[step.number] = note
            if before != note:
                lines += [note.line(key) for key in step.keys]
        if saver is not None and lines:
            self._write(saver.root(self._run), lines)

    def _write(self, folder: Path, lines: Iterable[str]) -> None:
        try:
            with append_inside(folder, self._file) as file:
                file.writelines(lines)
        except OSError as error:
            if not self._wrote_nothing:
                self._wrote_nothing = True
                logger.warning(
                    "the steps after a checkpoint can't be noted in %s: %s", folder, error
                )

    def _compare(self, *, wait: bool) -> None:
        """Compare steps of which both notes are there, in their order; report the first difference.

        Threads don't end in the order of their steps. A step whose note is still being made
        holds up those after it.
        """
        if wait:
            for thread in self._threads:
                thread.join()
            self._threads.clear()
        for number in sorted(self._expected):
            if number not in self._noted:
                if wait:
                    continue  # a step without losses has no note
                break
            before, now = self._expected.pop(number), self._noted[number]
            found = differences(before, now, losses=self._compares_losses, exact=self._exact)
            if found is not None:
                self._expected.clear()
                self._report(number, *found)
                return

    def _report(self, number: int, what: str, why: str) -> None:
        text = f"the resumed run does not go on as it did before: {what} (step {number})"
        if self._when_differs == "raise":
            raise ResumeDiffersError(text, remedy=why)
        logger.warning("%s\n  %s", text, why)


def _are_small(steps: Sequence[_Step]) -> bool:
    size_bytes = sum(one.size_bytes for one in steps)
    return size_bytes <= AT_ONCE_BYTES and all(loss.is_cpu for one in steps for loss in one.losses)


def _key(saved: Mapping[str, Any]) -> str:
    """The name of a checkpoint here: no two of a run have the same step and seconds."""
    progress = saved["progress"]
    return f"{progress['steps_completed']}:{progress['seconds']!r}"


def _samples(training: Training, progress: Any, origin: Origin) -> list[int] | None:
    """Indices of the samples of a batch, as far as they are known."""
    if isinstance(origin.drawn, Turn):
        return None
    if origin.drawn:
        try:
            return [int(index) for index in origin.drawn]
        except (TypeError, ValueError):  # keys, slices, several data sets
            return None
    source = training.setup.sources["train"]
    known = source.identify(progress.epochs_completed, progress.epoch_batches_completed).samples
    return list(known) or None


def _copy(part: Any) -> Any:
    return part.detach().to("cpu", copy=True) if isinstance(part, Tensor) else part.to("cpu")
