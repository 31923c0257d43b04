"""Host memory that snapshots are copied to: got once, beside the loop, and used again."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Collection, Mapping
from typing import final

import torch
from torch import Tensor

from trackside.checkpoint.shared_memory import SharedMemory

_log = logging.getLogger(__name__)

# Devices whose copies to pinned memory run by themselves, in the order of their stream.
WITH_PINNED_MEMORY = frozenset({"cuda", "xpu"})
SLAB_BYTES = 2**28
"""Pinned memory comes in pieces of this size: torch rounds each up to a power of two, and a piece
for every tensor would take a third more."""
_ALIGNMENT = 512
_LARGE_BYTES = 2**22
"""Less than that is not got beforehand: its pages are there in a millisecond."""
_PAGE_BYTES = 4096


class _PinnedMemory:
    """Room for tensors in memory that a device writes to by itself."""

    def __init__(self) -> None:
        self._slab: Tensor | None = None
        self._used = 0

    def room_for(self, source: Tensor) -> Tensor:
        """Memory of the shape and dtype of `source`."""
        size = source.nbytes
        if self._slab is None or self._used + size > self._slab.nbytes:
            self._slab, self._used = pinned_bytes(max(size, SLAB_BYTES)), 0
        part = self._slab[self._used : self._used + size]
        self._used += -(-size // _ALIGNMENT) * _ALIGNMENT
        return part.view(source.dtype).view(source.shape)


def pinned_bytes(count: int) -> Tensor:
    """So many bytes of pinned memory."""
    return torch.empty(count, dtype=torch.uint8, pin_memory=True)


@final
class HostBuffers:
    """Host memory for one snapshot, used again for the next.

    It is pinned where a device copies to it, shared with another process where that writes it, and
    ordinary elsewhere. Getting memory from the operating system costs more than filling it (pinned:
    thirty times as much), so that `allocate` gets it before the first snapshot, beside the loop.

    Args:
        shared_from_bytes: Size of a snapshot from which on it is in shared memory, when no part of
            it comes from a device with pinned memory.
        on_shared: Called once with the shared memory, by the thread that got it.
    """

    def __init__(
        self,
        shared_from_bytes: float = math.inf,
        on_shared: Callable[[SharedMemory], None] | None = None,
    ) -> None:
        self.shared: SharedMemory | None = None
        """The memory that another process can read; None while there is none."""
        self._shared_from_bytes = shared_from_bytes
        self._on_shared = on_shared
        self._buffers: dict[str, Tensor] = {}
        self._memory = _PinnedMemory()
        self._cannot_pin = False
        self._allocating: threading.Thread | None = None

    def allocate(self, tensors: Mapping[str, Tensor], *, reserve_bytes: int = 0) -> None:
        """Begin to get the memory for copies of `tensors`; returns at once.

        Args:
            tensors: Most of those that will be copied.
            reserve_bytes: Size of the others, where memory is got as a whole.
        """
        if self._buffers or self._allocating is not None:
            return
        pinned = _from_devices(tensors)
        if not pinned and _size_bytes(tensors) < min(_LARGE_BYTES, self._shared_from_bytes):
            return
        # Shapes only: the thread must not keep tensors that the loop drops meanwhile.
        shapes = {key: torch.empty_like(t, device="meta") for key, t in tensors.items()}
        thread = threading.Thread(
            target=self._allocate_all,
            args=(shapes, pinned, reserve_bytes),
            name="memory for checkpoints",
            daemon=True,
        )
        thread.start()
        self._allocating = thread

    def _allocate_all(
        self, shapes: Mapping[str, Tensor], pinned: Collection[str], reserve_bytes: int
    ) -> None:
        self._buffers = self._room_for(shapes, pinned, {}, reserve_bytes)
        if self.shared is None:
            for key in self._buffers.keys() - pinned:
                _touch(self._buffers[key])

    @torch.no_grad()
    def copy(
        self, tensors: Mapping[str, Tensor]
    ) -> tuple[Mapping[str, Tensor], tuple[torch.Event, ...]]:
        """The tensors with their values copied here, and what to wait for before they are read."""
        if self._allocating is not None:
            self._allocating.join()
        if not _fit(self._buffers, tensors):
            former, self._buffers = self._buffers, {}
            self._buffers = self._room_for(tensors, _from_devices(tensors), former)
        buffers: list[Tensor] = []
        sources: list[Tensor] = []
        streams: dict[torch.device, torch.Stream] = {}
        for key, source in tensors.items():
            buffer = self._buffers[key]
            if source.is_cpu:
                buffers.append(buffer)
                sources.append(source)
                continue
            asynchronous = buffer.is_pinned()
            buffer.copy_(source, non_blocking=asynchronous)
            if asynchronous and source.device not in streams:
                streams[source.device] = torch.accelerator.current_stream(source.device)
        if sources:
            torch._foreach_copy_(buffers, sources)
        # What the loop queues after this moment runs after the copies, on the same stream.
        return self._buffers, tuple(stream.record_event() for stream in streams.values())

    def _room_for(
        self,
        tensors: Mapping[str, Tensor],
        pinned: Collection[str],
        former: Mapping[str, Tensor],
        reserve_bytes: int = 0,
    ) -> dict[str, Tensor]:
        if not pinned and _size_bytes(tensors) >= self._shared_from_bytes:
            try:
                return self._in_shared_memory(tensors, former, reserve_bytes)
            except OSError as error:
                self._shared_from_bytes = math.inf
                _log.warning("no shared memory, a thread writes the checkpoints: %s", error)
        self.shared = None
        return {
            key: former[key]
            if key in former and _fits(former[key], source)
            else self._allocate(source, pinned=key in pinned)
            for key, source in tensors.items()
        }

    def _in_shared_memory(
        self, tensors: Mapping[str, Tensor], former: Mapping[str, Tensor], reserve_bytes: int
    ) -> dict[str, Tensor]:
        if self.shared is None:
            shared = SharedMemory()
            room = shared.lay_out(tensors, reserve_bytes=reserve_bytes)
            self.shared = shared
            if self._on_shared is not None:
                self._on_shared(shared)
            return room
        if all(key in tensors and _fits(former[key], tensors[key]) for key in former):
            new = {key: tensor for key, tensor in tensors.items() if key not in former}
            room_beside = self.shared.extend(new)
            if room_beside is not None:
                both = {**former, **room_beside}
                return {key: both[key] for key in tensors}
        return self.shared.lay_out(tensors)

    def _allocate(self, source: Tensor, *, pinned: bool) -> Tensor:
        if pinned and not self._cannot_pin and source.nbytes:
            try:
                return self._memory.room_for(source)
            except RuntimeError as error:
                self._cannot_pin = True
                _log.warning("no more pinned memory, saving copies through ordinary: %s", error)
        return torch.empty(source.shape, dtype=source.dtype)


def _from_devices(tensors: Mapping[str, Tensor]) -> frozenset[str]:
    return frozenset(k for k, t in tensors.items() if t.device.type in WITH_PINNED_MEMORY)


def _size_bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _fit(buffers: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> bool:
    return buffers.keys() == tensors.keys() and all(
        _fits(buffers[key], source) for key, source in tensors.items()
    )


def _fits(buffer: Tensor, source: Tensor) -> bool:
    return buffer.dtype is source.dtype and buffer.shape == source.shape


def _touch(buffer: Tensor) -> None:
    """Have the system give the pages now: it does when they are first written to."""
    # By numpy: an operator of torch in this thread would start threads beside it.
    if buffer.numel():
        buffer.view(-1).view(torch.uint8).numpy()[::_PAGE_BYTES] = 0
