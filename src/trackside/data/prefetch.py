"""Batches on their way to an accelerator: pinned, copied on a stream of their own, one ahead.

While the device computes a step, the next batch is copied beside it; the computation waits for the
copy on the device, never on the host. Batches are fetched ahead only where fetching draws from no
generator of this process, so that order, values and exact resume are what they are without it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import chain, islice
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from trackside.data.batches import Batch, changed, move, parts_of
from trackside.data.loaded import LoadedBatch
from trackside.data.seekable import SeekableSampler
from trackside.data.source import DataSource
from trackside.data.stateful import Stateful
from trackside.data.tensors import TensorLoader
from trackside.errors import ConfigurationError, DataError
from trackside.progress import is_count

logger = logging.getLogger("trackside")

AHEAD = 1
"""Batches fetched ahead where nobody says how many: the copy of one is over before its step."""
WITH_STREAMS = frozenset(("cuda", "xpu"))
SMALL_BATCH_BYTES = 2**20
"""Batches below it are moved when their step begins, where nobody says how many go ahead.

Pinning, a stream and an event cost some 0.4 ms of the host's time in each step, whatever the size
(H200: a step of 1.40 ms with batches of 8 KiB took 1.31 of it, and 1.01 without); an ordinary copy
of a mebibyte takes less than that.
"""


class Streams(Protocol):
    """Interface of a device that can copy while it computes."""

    def pin(self, tensor: Tensor) -> Tensor:
        """A copy of a host's tensor in memory that the device can read by itself."""

    def aside(self) -> AbstractContextManager[Any]:
        """Within it, work goes to the stream of the copies."""

    def mark(self) -> Any:
        """A mark behind what was given to the stream of the copies so far."""

    def wait(self, mark: Any) -> None:
        """Let later work on the computing stream wait for `mark`."""

    def keep(self, tensor: Tensor) -> None:
        """The memory of `tensor` is used by the computing stream from now on."""


class DeviceStreams:
    """Those of a CUDA or XPU device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._module = torch.get_device_module(device)
        self._copies = self._module.Stream(device)

    def pin(self, tensor: Tensor) -> Tensor:
        """See `Streams`."""
        return tensor if tensor.is_pinned() else tensor.pin_memory()

    def aside(self) -> AbstractContextManager[Any]:
        """See `Streams`."""
        manager: AbstractContextManager[Any] = self._module.stream(self._copies)
        return manager

    def mark(self) -> Any:
        """See `Streams`."""
        return self._copies.record_event()

    def wait(self, mark: Any) -> None:
        """See `Streams`."""
        self._module.current_stream(self._device).wait_event(mark)

    def keep(self, tensor: Tensor) -> None:
        """See `Streams`."""
        tensor.record_stream(self._module.current_stream(self._device))


class Transfer:
    """Brings batches to a device.

    Args:
        device: Where to.
        streams: Of a device that can copy while it computes; None copies where it computes.
    """

    def __init__(self, device: torch.device, streams: Streams | None = None) -> None:
        self._device = device
        self._streams = streams

    def send(self, batch: LoadedBatch) -> tuple[LoadedBatch, Any]:
        """Let the copy begin; returns the batch to be, and the mark behind it."""
        streams, (data, origin) = self._streams, batch
        tensors = _tensors(data)
        if streams is None or tensors is None or not any(t.is_cpu for t in tensors):
            return LoadedBatch(move(data, self._device), origin), None
        pinned = changed(data, lambda tensor: streams.pin(tensor) if tensor.is_cpu else tensor)
        with streams.aside():
            moved = move(pinned, self._device)
            return LoadedBatch(moved, origin), streams.mark()

    def receive(self, sent: tuple[LoadedBatch, Any]) -> LoadedBatch:
        """The batch, to be used by what is computed from now on."""
        batch, mark = sent
        if self._streams is not None and mark is not None:
            self._streams.wait(mark)
            for tensor in _tensors(batch.data) or ():
                self._streams.keep(tensor)
        return batch


def prefetcher_for(
    device: torch.device, prefetch_batches: int | None, streams: Streams | None = None
) -> Callable[[Iterator[LoadedBatch], DataSource], Iterator[LoadedBatch]] | None:
    """The prefetcher for `device`: it copies the batches of a pass ahead of their use.

    Args:
        device: Where the model computes.
        prefetch_batches: As the user set it.
        streams: Of the device; None takes its own, where it can copy while it computes.

    Returns:
        From the batches of a pass, and what they come from, to the same batches; None where nothing
        is gained by more than moving each batch when its step begins.

    Raises:
        ConfigurationError: `prefetch_batches` is not a count.
    """
    if prefetch_batches is not None and not is_count(prefetch_batches):
        raise ConfigurationError(
            f"prefetch_batches={prefetch_batches!r} is not a number of batches",
            expected="a whole number, 0 or more; None for what helps on the device",
            option="prefetch_batches",
        )
    if streams is None and _copies_aside(device):
        streams = DeviceStreams(device)
    if prefetch_batches == 0 or (prefetch_batches is None and streams is None):
        return None
    if prefetch_batches is not None and device.type == "cpu" and streams is None:
        logger.warning("prefetch_batches=%d saves nothing: a CPU copies nothing", prefetch_batches)
    transfer = Transfer(device, streams)
    ahead = AHEAD if prefetch_batches is None else prefetch_batches
    reported: set[str] = set()

    def prefetched(batches: Iterator[LoadedBatch], source: DataSource) -> Iterator[LoadedBatch]:
        if prefetch_batches is None:
            batches, small = _whether_small(batches)
            if small:
                yield from batches
                return
        possible = can_run_ahead(source)
        if prefetch_batches is not None and not possible and source.name not in reported:
            reported.add(source.name)
            logger.warning(
                "prefetch_batches=%d has no effect on the data named %r: %s",
                prefetch_batches,
                source.name,
                "it is read in this process, or keeps its own position",
            )
        yield from _prefetched(batches, transfer, ahead if possible else 0)

    return prefetched


class Ahead(NamedTuple):
    """Batches that are held before their step."""

    batch_bytes: int | None
    """Of the first one; None where it wasn't needed, or can't be looked at before."""
    pinned_batches: int
    """How many are in pinned memory at once, on their way to the device."""


def held_ahead(
    device: torch.device, prefetch_batches: int | None, source: DataSource, *, workers: int
) -> Ahead:
    """Batches of `source` that `prefetcher_for` and the workers of its loader hold.

    The first batch is looked at where it matters, in a pass that leaves no trace.
    """
    unset, pinned = prefetch_batches is None, 0
    if prefetch_batches != 0 and _copies_aside(device):
        ahead = AHEAD if prefetch_batches is None else prefetch_batches
        pinned = max(ahead if can_run_ahead(source) else 0, 1)
    if not pinned and not workers:
        return Ahead(None, 0)
    try:
        with source.aside() as batches:
            size_bytes = _host_bytes(list(islice(batches, 1)))
    except DataError:
        return Ahead(None, pinned)
    return Ahead(size_bytes, 0 if unset and size_bytes < SMALL_BATCH_BYTES else pinned)


def chosen_way(device: torch.device, prefetch_batches: int | None, source: DataSource) -> str:
    """The way of batches to `device`, in words, as `prefetcher_for` has them go.

    Where the size of a batch decides, the first one is looked at, in a pass that leaves no trace.
    """
    unset, aside = prefetch_batches is None, _copies_aside(device)
    if prefetch_batches == 0:
        return "moved when their step begins: prefetch_batches=0"
    if unset and device.type == "cpu":
        return "used where they are"
    if unset and not aside:
        return f"moved when their step begins: {device.type} can't copy beside its work"
    if unset:
        try:
            with source.aside() as batches:
                size_bytes = _host_bytes(list(islice(batches, 1)))
        except DataError:
            return "the size of the first one decides: this data can't be looked at before"
        if size_bytes < SMALL_BATCH_BYTES:
            return f"moved when their step begins: {size_bytes:,} bytes are copied at once"
    way = "copied beside the device's work, from pinned memory" if aside else "fetched"
    if not can_run_ahead(source):
        return f"{way}; none ahead: this process reads the data, which may draw random numbers"
    return f"{way}; ahead of their step: {AHEAD if unset else prefetch_batches}"


def _copies_aside(device: torch.device) -> bool:
    return device.type in WITH_STREAMS


def _whether_small(batches: Iterator[LoadedBatch]) -> tuple[Iterator[LoadedBatch], bool]:
    """The same batches, and whether the first is too small to be copied beside the computation."""
    first = list(islice(batches, 1))
    return chain(first, batches), _host_bytes(first) < SMALL_BATCH_BYTES


def _host_bytes(batches: list[LoadedBatch]) -> int:
    tensors = _tensors([batch.data for batch in batches]) or ()
    return sum(tensor.nbytes for tensor in tensors if tensor.is_cpu)


def can_run_ahead(source: DataSource) -> bool:
    """Whether a batch fetched before its turn is the one that would be fetched at its turn.

    So it is where worker processes load, each batch under its own seed, and where batches are cut
    out of tensors. A data set that is read in this process may draw from the generators that the
    model draws from; a loader that keeps its own position would be one batch too far.
    """
    loader = source.loader
    if source.split.is_split:  # ranks meet before each batch, at its turn
        return False
    if isinstance(loader, TensorLoader):
        return True
    return (
        isinstance(loader, DataLoader)
        and loader.num_workers > 0
        and isinstance(loader.batch_sampler, SeekableSampler)
        and not isinstance(loader, Stateful)
    )


def _prefetched(
    batches: Iterator[LoadedBatch], transfer: Transfer, ahead: int
) -> Iterator[LoadedBatch]:
    waiting: deque[tuple[LoadedBatch, Any]] = deque()
    try:
        waiting.extend(map(transfer.send, islice(batches, ahead)))
        for batch in batches:
            waiting.append(transfer.send(batch))
            yield transfer.receive(waiting.popleft())
    except Exception:
        # An error of the data comes at its turn, after the batches before it.
        yield from map(transfer.receive, waiting)
        raise
    yield from map(transfer.receive, waiting)


def _tensors(batch: Batch) -> list[Tensor] | None:
    """All tensors of a batch; None when an object in it has its own `to`."""
    found = list(parts_of(batch))
    return found if all(isinstance(part, Tensor) for part in found) else None
