"""Settings of a trainer beside model and data, and the result of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from trackside.distributed.parallel import Parallel
from trackside.errors import ConfigurationError, did_you_mean, shortened
from trackside.history import History
from trackside.lifecycle.signals import GRACE_SECONDS, signal_numbers
from trackside.loop.ways import StepWay
from trackside.machine.paths import local_path
from trackside.outcome import Outcome
from trackside.progress import EndedEpoch, Halving, SkippedStep, counted, whole_number
from trackside.remote.address import address_in
from trackside.run import Rollback
from trackside.schedule import Every, Schedule
from trackside.vocabulary.idioms import refuses_idioms
from trackside.vocabulary.objects import place_of
from trackside.vocabulary.option_types import holds_options
from trackside.vocabulary.renamed import refuses_old_names


@refuses_old_names
@refuses_idioms
@holds_options
@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a run: device, precision, seed, folder."""

    device: str | int | torch.device = "auto"
    """`auto` takes an accelerator when there is one; a number is the accelerator of that index."""
    compile: bool | Mapping[str, Any] = False
    """Whether the model goes through torch.compile; a mapping gives its options."""
    step: StepWay = "eager"
    """How a step is computed: `eager` calls one operation after the other, as a loop by hand does;
    `compiled` makes graphs of it with a C++ compiler, on CPUs: faster, and equal to rounding;
    `captured` repeats it as a CUDA graph where no callback listens in its inside; `auto` takes the
    one of its device where that can be done, and says why where it can't."""
    directory: str | Path | None = None
    """The run's folder; None makes a new one under `runs/`, named by date and time. An address
    that fsspec knows (`s3://bucket/run`) is a remote folder: the run is written to `mirror`, and
    uploaded while it goes on."""
    mirror: str | Path | None = None
    """The folder on this machine in which a run with an address as its `directory` is written. None
    takes `runs/<scheme>/<bucket>/<path>`; it belongs to that address."""
    log_every: Schedule | str = "50 steps"
    """How often values are brought to the host and recorded."""
    strategy: str | Parallel = "auto"
    """How models are spread over ranks, where a launcher started several: `auto` and `ddp` copy
    them, `fsdp` shards them; or a `DDP(...)`, an `FSDP(...)` with options."""
    compare_ranks_every: Schedule | str | None = "100 steps"
    """How often ranks compare digests of weights, options of optimizers and parameters that want
    gradients, beside the first step, the end of each epoch, and each evaluation and save; and of
    the indices that they draw, in every step. `1 step` compares everything in each step, None
    nothing. In one process there is nothing to compare."""
    when_ranks_differ: Literal["raise", "warn"] = "raise"
    """A run whose ranks differ ends with an error that names what differs
    first, or warns of it once."""
    on_resume_differs: Literal["warn", "raise"] | None = "warn"
    """The first three steps after a checkpoint are noted, and compared after a resume from it: the
    samples and their contents exactly, losses exactly on a CPU and with `deterministic`, else to
    1 %. A run that goes on otherwise warns of it once, or ends. None notes nothing."""
    prefetch_batches: int | None = None
    """Batches fetched ahead of their turn and copied to the device beside its work, from pinned
    memory. None: one on devices that can do so, where the first batch of the pass has a mebibyte or
    more, none elsewhere; 0 moves each batch when its step begins. Data that is read in this process
    is never fetched ahead: it may draw random numbers."""
    halve_batches_to: int | None = None
    """The fewest samples that go through the model at once when memory runs out. A step whose
    forward or backward pass raises `torch.OutOfMemoryError` is then tried again with its batches in
    parts half as large, whose gradients are accumulated to those of the whole batch; later steps
    keep the parts, and so does a resume. 1 halves as often as it takes. None: the error ends the
    run."""
    non_finite: Literal["stop", "skip", "roll_back", "raise"] | None = None
    """The policy for a loss that is NaN or infinite: a `TerminateOnNonFinite` that follows it is
    added to the callbacks. None adds none."""
    deterministic: bool = False
    """Whether torch refuses operations that aren't reproducible on this device."""
    guard: Literal["observers", "waits"] | None = None
    """Whether hooks are watched, at a cost: `observers` compares generators, modes, gradients,
    weights and optimizers around each hook of a callback that declares `effect="observes"`, and
    raises where one changed something; `waits` reports each place in a hook at which the host waits
    for the device. None: neither."""
    stop_signals: tuple[str, ...] = ()
    """Names of signals that ask for the end as SIGINT, SIGTERM and SIGHUP do: `("SIGUSR1",)`."""
    stop_grace_seconds: float = GRACE_SECONDS
    """How long after the first of these signals others than SIGINT only repeat it; later, one more
    ends the run at once."""

    def __post_init__(self) -> None:
        is_device = isinstance(self.device, (str, int, torch.device))
        if not is_device or isinstance(self.device, bool):
            raise ConfigurationError(
                f"device={shortened(self.device)} can't be a device",
                expected="'auto', 'cpu', 'cuda', 'cuda:1', 'mps', ..., or a torch.device",
                received=type(self.device).__name__,
                remedy=place_of(self.device),
                option="device",
            )
        signal_numbers(self.stop_signals)
        if self.step not in get_args(StepWay):
            raise ConfigurationError(
                f"step={self.step!r} doesn't exist",
                expected=", ".join(get_args(StepWay)),
                remedy=did_you_mean(str(self.step), get_args(StepWay)),
                option="step",
            )
        if self.prefetch_batches is not None:
            whole_number(self.prefetch_batches, "prefetch_batches")
        if self.halve_batches_to is not None:
            whole_number(self.halve_batches_to, "halve_batches_to", at_least=1)
        Every.parse(self.log_every, option="log_every")
        if self.compare_ranks_every is not None:
            Every.parse(self.compare_ranks_every, option="compare_ranks_every")
        if self.when_ranks_differ not in ("raise", "warn"):
            raise ConfigurationError(
                f"when_ranks_differ={self.when_ranks_differ!r} isn't a choice",
                expected="raise, warn",
                option="when_ranks_differ",
            )
        if self.on_resume_differs not in ("warn", "raise", None):
            raise ConfigurationError(
                f"on_resume_differs={self.on_resume_differs!r} isn't a choice",
                expected="warn, raise, or None",
                option="on_resume_differs",
            )
        if self.guard not in (None, "observers", "waits"):
            raise ConfigurationError(
                f"guard={self.guard!r} isn't a choice",
                expected="observers, waits",
                option="guard",
            )
        if not self.stop_grace_seconds >= 0:
            raise ConfigurationError(
                f"stop_grace_seconds={self.stop_grace_seconds!r} must be a time",
                option="stop_grace_seconds",
                expected="seconds, 0 or more",
            )
        if self.directory is not None:
            address = address_in(self.directory, "directory")
            directory = local_path(self.directory, "directory") if address is None else str(address)
            object.__setattr__(self, "directory", directory)
        if self.mirror is not None:
            object.__setattr__(self, "mirror", local_path(self.mirror, "mirror"))
            if not isinstance(self.directory, str):
                raise ConfigurationError(
                    "`mirror` has no effect: the run's folder is on this machine",
                    expected="an address as `directory`, such as 's3://bucket/run'",
                    received=f"directory={str(self.directory)!r}",
                    option="mirror",
                )


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a run: a `fit`, or an evaluation or prediction."""

    outcome: Outcome
    history: History
    directory: Path
    callback_seconds: Mapping[str, float] = field(default_factory=dict)
    """Time spent in each callback."""
    failed_callbacks: Mapping[str, int] = field(default_factory=dict)
    """Number of failures of each callback with `on_error="warn"`."""
    rollbacks: Sequence[Rollback] = ()
    """Returns to a checkpoint, over all resumes."""
    skipped_steps: Sequence[SkippedStep] = ()
    """Steps without their update, with who asked and why, over all resumes."""
    ended_epochs: Sequence[EndedEpoch] = ()
    """Epochs that were ended on request, with who asked and why, over all resumes."""
    halvings: Sequence[Halving] = ()
    """Steps that ran out of memory, from which on batches went through in smaller parts."""
    predictions: Sequence[Any] = ()
    """Of a prediction: what was predicted of each batch, until it ended or was ended. After an
    error on several ranks, of this rank's batches."""

    def __repr__(self) -> str:
        records = len(self.history)
        skipped = (
            f"; {counted(len(self.skipped_steps), 'update')} skipped" if self.skipped_steps else ""
        )
        files = f"files in {str(self.directory)!r}"
        return f"<Result: {self.outcome}; {counted(records, 'record')}{skipped}; {files}>"

    def _repr_html_(self) -> str:
        """The table that notebooks show instead of the repr."""
        from html import escape  # noqa: PLC0415 - nobody else has to wait for its import

        return (
            f"<p><b>{escape(str(self.outcome))}</b>, files in "
            f"<code>{escape(str(self.directory))}</code></p>{self.history._repr_html_()}"
        )
