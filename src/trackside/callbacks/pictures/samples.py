"""The first samples of named data, and a look at a model that leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from trackside.data.batches import Batch, move, take
from trackside.data.counting import samples_in
from trackside.errors import (
    ConfigurationError,
    DataError,
    UnknownDataError,
    UsageError,
    did_you_mean,
)
from trackside.lifecycle.roles import KeepsAverages
from trackside.machine import randomness
from trackside.run import Run
from trackside.step.evaluation import evaluating, in_order

_HOST = torch.device("cpu")


def first_samples(run: Run, data: str, count: int) -> Batch:
    """The first `count` samples of the data named `data`, in host memory, the same on every rank.

    A collective. Position and generators of the data are left alone.

    Raises:
        UnknownDataError: There is no such data.
        UsageError: It is the training data on several ranks, where each
            has parts of batches only.
        DataError: It is empty, or can be passed over once only.
    """
    if data not in run.data:
        raise UnknownDataError.among(run.data, data, "to take pictures of", option="data")
    if data == "train" and run.world.size > 1:
        raise UsageError(
            f"the training data on {run.world.size} ranks comes in parts of batches",
            remedy="give the same data set to `fit` under another name: data={'again': ...}",
        )
    source, kept, found = run.data[data], [], 0
    with source.aside() as batches:
        for batch, origin in batches:
            if source.split.is_split:  # ranks meet before each batch: none of them stops before
                found = origin.number + 1
            elif not origin.counts:  # it fills up a last round: another rank has it
                break
            if origin.counts:
                kept.append(cut(move(batch, _HOST), count))
            if not source.split.is_split:
                found += samples_in(kept[-1])
            if found >= count:
                break
    everything = in_order(run, kept, split=source.split.is_split)
    if not everything:
        raise DataError(f"the data named {data!r} is empty", expected="at least one sample")
    return cut(joined(everything), count)


def cut(batch: Batch, count: int) -> Batch:
    """The first `count` samples of a batch, as memory of their own."""
    return take(batch, range(min(count, samples_in(batch))))


def joined(batches: Sequence[Batch]) -> Batch:
    """Several batches as one."""
    first = batches[0]
    if len(batches) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(list(batches)) if first.ndim else first
    if isinstance(first, Mapping):
        return {name: joined([batch[name] for batch in batches]) for name in first}
    if isinstance(first, (tuple, list)):
        if any(isinstance(part, (Tensor, Mapping, tuple, list)) for part in first):
            return [joined(parts) for parts in zip(*batches, strict=True)]
        return [value for batch in batches for value in batch]
    return first


def inputs_of(batch: Batch) -> Tensor | None:
    """The part of a batch that can be shown: its first tensor of floating or byte values."""
    if isinstance(batch, Tensor):
        return batch if batch.is_floating_point() or batch.dtype is torch.uint8 else None
    parts: Sequence[Any] = ()
    if isinstance(batch, Mapping):
        parts = list(batch.values())
    elif isinstance(batch, (tuple, list)):
        parts = batch
    return next((found for part in parts if (found := inputs_of(part)) is not None), None)


def check_average(run: Run, average: str | None) -> None:
    """Refuse the name of a callback that has no averages. Raises `ConfigurationError`."""
    if average is None or isinstance(run.callbacks.get(average), KeepsAverages):
        return
    known = [n for n, one in run.callbacks.items() if isinstance(one, KeepsAverages)]
    raise ConfigurationError(
        f"no callback {average!r} has averages to look at",
        expected="the name of a callback with a method `averaged`, such as `EMA`",
        remedy=did_you_mean(average, known),
        option="average",
    )


@contextmanager
def undisturbed(run: Run, average: str | None = None) -> Iterator[None]:
    """Inside, the models evaluate; afterwards weights, modes and generators are what they were.

    What is logged or asked for inside is dropped. Compiled models run as they were written: hooks
    on their parts are heard, and nothing is compiled again for a few samples.

    Args:
        run: The run.
        average: Name of a callback whose averages stand in the place of the weights.
    """
    with ExitStack() as stack:
        stack.enter_context(randomness.preserved())
        stack.enter_context(run.discarding())
        if average is not None:
            stack.enter_context(run.callbacks[average].averaged(run))
        stack.enter_context(evaluating(run.models))
        if any(_is_compiled(model) for model in run.models.values()):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(run.precision.autocast or nullcontext())
        yield


def _is_compiled(model: nn.Module) -> bool:
    return any(
        getattr(module, "_compiled_call_impl", None) is not None or hasattr(module, "_orig_mod")
        for module in model.modules()
    )


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """The parts of a model by name as it was written, without what compiling put into it."""
    return {
        name.replace("_orig_mod.", ""): module
        for name, module in model.named_modules()
        if name and name != "_orig_mod"
    }
