"""Counters of what is done, and of the evaluation under way.

They say what is *completed*, never what is under way, so that a checkpoint taken between two steps
is exact. The loop alone writes them; all others read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from trackside.errors import ConfigurationError
from trackside.vocabulary.renamed import refuses_old_names

_FORMER_NAMES = {"epochs_closed": "epochs_ended"}
"""Counters under the names that older checkpoints have for them."""


@refuses_old_names
@dataclass(slots=True)
class Progress:
    """Counters of what a run has completed, over all its resumes."""

    epochs_completed: int = 0
    """Whole passes over the training data; their evaluations may still be to come."""
    epochs_closed: int = 0
    """Epochs whose evaluations are done as well: `epochs_completed`, or `epochs_completed - 1` from
    the end of a pass until the evaluations after it are done."""
    steps_completed: int = 0
    """Optimizer updates (skipped ones included: the step happened, the update did not)."""
    batches_completed: int = 0
    """Micro-batches that went through the model in training."""
    samples_completed: int = 0
    """Items of training data, summed over all ranks."""
    steps_before_epoch: int = 0
    """Steps completed when the epoch under way (or the last one) began."""
    batches_before_epoch: int = 0
    samples_before_epoch: int = 0
    seconds: float = 0.0
    """Wall-clock seconds spent in `fit`, over all its resumes. Updated at every record."""
    tokens_completed: int = 0
    """Tokens of training data, summed over all ranks, as steps say them; 0 where they say none."""

    @property
    def epoch_steps_completed(self) -> int:
        """Steps within the epoch under way, or the last one."""
        return self.steps_completed - self.steps_before_epoch

    @property
    def epoch_batches_completed(self) -> int:
        """Micro-batches of this rank within the epoch under way, or the last one."""
        return self.batches_completed - self.batches_before_epoch

    @property
    def epoch_samples_completed(self) -> int:
        """Items within the epoch under way, or the last one, summed over all ranks."""
        return self.samples_completed - self.samples_before_epoch

    def begin_epoch(self) -> None:
        """From now on the counters within the epoch count from 0."""
        self.steps_before_epoch = self.steps_completed
        self.batches_before_epoch = self.batches_completed
        self.samples_before_epoch = self.samples_completed

    def state_dict(self) -> dict[str, Any]:
        """All counters by name."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`. Raises `KeyError` for a counter that is missing."""
        state = {"tokens_completed": 0, **state}  # older checkpoints have none
        for one in fields(self):
            former = _FORMER_NAMES.get(one.name, one.name)
            setattr(self, one.name, state[former if former in state else one.name])


@dataclass(frozen=True, slots=True)
class Halving:
    """A step that ran out of memory; from it on, batches go through the model in smaller parts."""

    step: int
    """The step under way, counted from 1."""
    samples: int
    """The most samples that go through the model at once from then on, on each rank."""
    reason: str
    """The words of the error, of the lowest rank that had one."""


def counted(count: int, noun: str) -> str:
    """A number with its noun: `1 batch`, `1,400 samples`."""
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{ending}"


def is_count(value: object, at_least: int = 0) -> bool:
    """Whether `value` is a whole number of at least `at_least`; True and 2.0 aren't."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least


def whole_number(value: object, option: str, *, at_least: int = 0) -> int:
    """`value`, if it is a whole number of at least `at_least`.

    Args:
        value: What was given.
        option: Name of the parameter that it was given for.
        at_least: The smallest number that has a meaning.

    Raises:
        ConfigurationError: It is something else; the error names the option.
    """
    if not is_count(value, at_least):
        raise ConfigurationError(
            f"{option}={value!r} can't be used",
            expected=f"a whole number, {at_least} or more",
            option=option,
        )
    return int(value)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True, slots=True)
class RunLimit:
    """How far a run goes: epochs, steps, or whichever comes first.

    `None` means unlimited in that unit. `epoch_steps` is the length of an epoch in steps where the
    data says its length, `epoch_samples` its number of items.
    """

    epochs: int | None = None
    steps: int | None = None
    epoch_steps: int | None = None
    epoch_samples: int | None = None

    def reached(self, progress: Progress) -> bool:
        """Whether `progress` has reached either limit."""
        if self.epochs is not None and progress.epochs_completed >= self.epochs:
            return True
        return self.steps is not None and progress.steps_completed >= self.steps

    @property
    def total_steps(self) -> int | None:
        """Steps until the run is complete, or None when the data doesn't say its length."""
        by_epochs = (
            self.epochs * self.epoch_steps
            if self.epochs is not None and self.epoch_steps is not None
            else None
        )
        known = [steps for steps in (self.steps, by_epochs) if steps is not None]
        if self.steps is None and by_epochs is None:
            return None
        return min(known)


@dataclass(frozen=True, slots=True)
class SkippedStep:
    """One step without its update, skipped on request or by fp16: it counts, the weights stay."""

    step: int
    """Steps completed with it."""
    reason: str
    asked_by: str
    """The asker, and on which ranks, unless on all."""


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Identity of a training batch: enough to know it when it comes again."""

    epoch: int
    """The pass it belongs to: epochs completed before it."""
    number: int
    """Its place in the pass, from 0; the parts that ranks take of one batch have one number."""
    samples: tuple[int, ...] = ()
    """Indices of its samples in the data set; empty where they can't be known."""
    places: tuple[int, ...] = ()
    """Places in it, from 0, of the samples that are meant; empty: all of it."""

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.samples[:8])) + (", ..." if len(self.samples) > 8 else "")
        where = f"batch {self.number} of epoch {self.epoch}, both from 0"
        some = f", places {', '.join(map(str, self.places))}" if self.places else ""
        return where + some + (f" (samples {shown})" if shown else "")


def training_batches(listed: Iterable[Mapping[str, Any]]) -> tuple[TrainingBatch, ...]:
    """Batches as they were before `asdict`, and JSON, took them apart."""
    return tuple(
        TrainingBatch(b["epoch"], b["number"], tuple(b["samples"]), tuple(b.get("places", ())))
        for b in listed
    )


@dataclass(frozen=True, slots=True)
class Rollback:
    """One return to a checkpoint in the middle of a run."""

    from_step: int
    """Steps completed before."""
    to_step: int
    """Steps completed at the checkpoint."""
    reason: str
    asked_by: str
    left_out: tuple[TrainingBatch, ...] = ()
    """Batches that are not trained on when they come again."""


@dataclass(frozen=True, slots=True)
class EndedEpoch:
    """One epoch that was ended on request, before its data was over."""

    epoch: int
    """The pass: epochs completed before it."""
    step: int
    """Steps completed when it ended."""
    reason: str
    asked_by: str
    """The asker, and on which ranks, unless on all."""


@dataclass(slots=True)
class Evaluation:
    """One pass over a named data set without gradients."""

    name: str
    """Name of the data: `val`, `test`, or any key of `run.data`."""
    batches: int | None = None
    """Batches of this rank in the pass, when the data says its length."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Final values by full name (`val/loss`), over all ranks; filled before `on_evaluation_end`."""
    results: dict[str, Any] = field(default_factory=dict)
    """Metrics that aren't single numbers (a confusion matrix, say), by full name."""
    batches_completed: int = 0
    samples_completed: float = 0
    """Of this rank; nan where a batch of another trainer's evaluation can't be counted."""
    sanity: bool = False
    """Whether it only tries a few batches before training: nothing of it counts."""
    average: str | bool | None = None
    """Callback whose averaged weights are used, by name; False: none; None: callbacks decide."""
    exits: ExitStack = field(default_factory=ExitStack)
    """Closed when the pass ends, however it ends: `evaluation.exits.callback(put_back)`."""
