"""BatchSizeFinder: the largest batch for which memory suffices, found by trying."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import final

import torch

from trackside.callbacks.scheduling.fitting_sizes import largest_that_fits
from trackside.callbacks.scheduling.host_peak import can_reset_host_peak, host_peak, reset_host_peak
from trackside.callbacks.scheduling.range_test import as_it_was, step_of
from trackside.data.batches import Batch, take
from trackside.data.counting import counted, samples_in
from trackside.distributed.state import is_sharded
from trackside.errors import ConfigurationError, UsageError
from trackside.lifecycle.hooks import Callback
from trackside.machine import randomness
from trackside.machine.accelerator import empty_cache, memory_counters
from trackside.progress import whole_number
from trackside.run import Run
from trackside.step.memory import is_out_of_memory

logger = logging.getLogger("trackside")


@final
class BatchSizeFinder(Callback):
    """Finds the largest `batch_size` for which memory suffices, before training.

    Sizes are tried by real steps (forward, backward, update), doubled until one runs out of memory,
    then halved into what is left between. Batches are made of the samples of the first one, which
    come again as often as it takes: where samples differ in length, give it the longest. Afterwards
    weights, optimizers, generators and the position in the data are what they were; copies are kept
    on the host meanwhile.

    The suggestion is logged as `batch_size_finder/suggestion`, over all ranks as `batch_size`
    counts. It isn't taken: the size of a batch decides how long an epoch is, and how large the
    rate should be. Evaluations, whose batches may be larger, aren't tried. A resumed run isn't
    tested again; other callbacks don't take part.

    A host has no memory that runs out without harm (the system kills processes): on a CPU
    `largest` or `memory_gigabytes` has to be given.

    Args:
        smallest: The first size to try, on each rank. A batch norm can't train on 1.
        largest: The largest size to try, on each rank. None: as many as the training data has, or
            memory allows.
        multiple_of: The suggestion is a multiple of it, on each rank.
        steps: Steps for each size, 2 or more: the first update makes the optimizer's state.
        memory_gigabytes: The most memory that a step may take, in 10^9 bytes: of tensors on the
            device; on a CPU, of this process (Linux). None on a device: all that it has.
        stop: Whether the run ends after the search instead of training.

    Raises:
        ConfigurationError: Options out of range; or, on a CPU, neither limit, or a limit of memory
            where the system doesn't measure it.
        UsageError: Found when training starts: steps that optimize by hand, sharded models, batches
            that can't be made larger; or not even the smallest size fits.

    Example:
        >>> finder = BatchSizeFinder(largest=512, multiple_of=8)
    """

    effect = "changes"
    logs = ("batch_size_finder/suggestion",)

    def __init__(
        self,
        *,
        smallest: int = 2,
        largest: int | None = None,
        multiple_of: int = 1,
        steps: int = 3,
        memory_gigabytes: float | None = None,
        stop: bool = True,
    ) -> None:
        whole_number(smallest, "smallest", at_least=1)
        whole_number(multiple_of, "multiple_of", at_least=1)
        whole_number(steps, "steps", at_least=2)
        if largest is not None:
            whole_number(largest, "largest", at_least=max(smallest, multiple_of))
        if memory_gigabytes is not None and not memory_gigabytes > 0:
            raise ConfigurationError(
                f"memory_gigabytes={memory_gigabytes!r} leaves no memory",
                expected="a number above 0",
                option="memory_gigabytes",
            )
        self.smallest = smallest
        self.largest = largest
        self.multiple_of = multiple_of
        self.steps = steps
        self.memory_gigabytes = memory_gigabytes
        self.stop = stop
        self._taken: dict[int, int] = {}
        self.tried: dict[int, str] = {}
        """Sizes on each rank in the order of their trial, each with `fits` or the reason."""
        self.suggestion: int | None = None
        """The largest `batch_size` that fits, over all ranks."""

    def on_attach(self, run: Run) -> None:
        if run.mode != "fit" or run.device.type != "cpu":
            return
        if self.largest is None and self.memory_gigabytes is None:
            raise ConfigurationError(
                "on a CPU nothing says where memory ends but the system, which kills the process",
                expected="BatchSizeFinder(largest=...), or memory_gigabytes=...",
                option="largest",
            )
        if self.memory_gigabytes is not None and not can_reset_host_peak():
            raise ConfigurationError(
                "this system doesn't measure the memory of a step",
                expected="BatchSizeFinder(largest=...)",
                option="memory_gigabytes",
            )

    def on_fit_start(self, run: Run) -> None:
        if run.progress.steps_completed > 0:
            return
        _check(run)
        self.tried, self._taken, self.suggestion = {}, {}, None
        known = run.data["train"].samples
        most = None if known is None else max(known // run.world.size, 1)
        limits = [one for one in (self.largest, most) if one is not None]
        with _unchanged(run):
            with run.data["train"].aside() as batches:
                first = next(iter(batches)).data
            found = largest_that_fits(
                lambda size: self._fits(run, first, size),
                smallest=self.smallest,
                largest=min(limits, default=None),
                unit=self.multiple_of,
            )
        if found is None:
            last = next(reversed(self.tried.items()), None)
            raise UsageError(
                "no batch of the sizes to try fits",
                expected=f"memory for {self.smallest} samples at once, in multiples of "
                f"{self.multiple_of}",
                received="more than the training data has" if last is None else last[1],
                remedy="a smaller model, precision='bf16', or torch.utils.checkpoint",
            )
        self.suggestion = found * run.world.size
        run.log("batch_size_finder/suggestion", self.suggestion, weight=1.0)
        if run.world.is_global_zero:
            limit = " (no larger one was tried)" if found == max(self.tried) else ""
            logger.info("the largest batch_size that fits is %d%s", self.suggestion, limit)
        if self.stop:
            run.stop("the search for a batch size is done")

    def _fits(self, run: Run, first: Batch, size: int) -> bool:
        reason = self._failure(run, first, size)
        if run.world.all_reduce(int(reason is not None), "max") and reason is None:
            reason = "it doesn't on another rank"
        self.tried[size] = reason or "fits"
        logger.debug("batches of %d samples: %s", size, self.tried[size])
        return reason is None

    def _failure(self, run: Run, first: Batch, size: int) -> str | None:
        """Why steps with batches of `size` samples don't fit; None: they do."""
        expected = extrapolated(self._taken, size)
        if self.memory_gigabytes is not None and expected > self.memory_gigabytes * 1e9:
            return f"it would take {expected / 1e9:.2f} GB"
        reason = self._steps(run, first, size)
        for optimizer in run.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        if reason is not None:
            gc.collect()  # cycles may hold activations
            empty_cache(run.device)
        return reason

    def _steps(self, run: Run, first: Batch, size: int) -> str | None:
        there = samples_in(first)
        _reset_peak(run.device, self.memory_gigabytes)
        try:
            batch = take(first, [sample % there for sample in range(size)])
            if counted(batch) != size:
                raise UsageError(
                    "batches of other sizes can't be made of these",
                    expected="tensors with samples along their first dimension, and lists",
                    remedy="set `batch_size` by trying",
                )
            for _ in range(self.steps):
                step_of(run, batch, run.optimizers.values())
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return str(error).split("\n")[0] or type(error).__name__
        if self.memory_gigabytes is not None:
            self._taken[size] = taken = _peak(run.device)
            if taken > self.memory_gigabytes * 1e9:
                return f"it takes {taken / 1e9:.2f} GB"
        return None


def extrapolated(taken: Mapping[int, int], size: int) -> float:
    """Bytes that `size` samples will take, by the two largest sizes below it; 0: nobody knows."""
    known = sorted(one for one in taken if one < size)[-2:]
    if len(known) < 2:
        return 0.0
    (small, large) = known
    slope = (taken[large] - taken[small]) / (large - small)
    return taken[large] + slope * (size - large)


def _check(run: Run) -> None:
    if run.steps.manual_optimization:
        raise UsageError("a batch size is found by steps that return their loss, not manual ones")
    if any(is_sharded(p) for model in run.models.values() for p in model.parameters()):
        raise UsageError(
            "a batch size can't be found for sharded models: a rank that runs out of memory would "
            "leave the others waiting",
            remedy="set `batch_size` by trying",
        )


@contextmanager
def _unchanged(run: Run) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(as_it_was(run, *run.optimizers.values(), on_host=True))
        stack.enter_context(run.discarding())
        stack.enter_context(randomness.preserved())
        stack.enter_context(torch.enable_grad())
        yield


def _reset_peak(device: torch.device, limit: float | None) -> None:
    counters = memory_counters(device)
    if counters is not None:
        counters.reset_peak_memory_stats(device)
    elif limit is not None:
        reset_host_peak()


def _peak(device: torch.device) -> int:
    counters = memory_counters(device)
    return int(counters.max_memory_allocated(device)) if counters is not None else host_peak()
