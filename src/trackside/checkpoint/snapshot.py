"""A copy of the state in host memory, from which a checkpoint is written while the loop goes on."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from trackside.checkpoint.errors import UnsavableStateError
from trackside.checkpoint.splitting import Json, Split, split
from trackside.checkpoint.tensors import Piece, is_sharded, local_part, offsets_of_part
from trackside.history import HistorySnapshot

_log = logging.getLogger(__name__)

# Devices whose copies to pinned memory run by themselves, in the order of their stream.
WITH_PINNED_MEMORY = frozenset({"cuda", "xpu"})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One rank's part of a checkpoint. Nothing that the loop does changes it any more."""

    state: Json
    """Skeleton of the shared state; None on ranks above 0."""
    rank_state: Json
    """Skeleton of what this rank alone knows."""
    whole: Mapping[str, Tensor]
    """Whole tensors that this rank writes, by key."""
    shards: tuple[Piece, ...] = ()
    copies: tuple[torch.Event, ...] = ()
    history: HistorySnapshot | None = None
    """The records of the shared state; None where it has none, and on ranks above 0."""

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """All that this rank writes. Made when it is asked for: the loop waits for the rest."""
        return (*(_whole(key, tensor) for key, tensor in self.whole.items()), *self.shards)

    def wait(self) -> None:
        """Wait until the copies from the devices have arrived."""
        for copied in self.copies:
            copied.synchronize()

    @property
    def size_bytes(self) -> int:
        """Bytes of this rank's tensors."""
        return sum(piece.size_bytes for piece in self.pieces)


_SLAB_BYTES = 2**28
"""Pinned memory comes in pieces of this size: torch rounds each up to a power of two, and a piece
for every tensor would take a third more."""
_ALIGNMENT = 512


class _PinnedMemory:
    """Room for tensors in memory that a device writes to by itself."""

    def __init__(self) -> None:
        self._slab: Tensor | None = None
        self._used = 0

    def room_for(self, source: Tensor) -> Tensor:
        """Memory of the shape and dtype of `source`."""
        size = source.nbytes
        if self._slab is None or self._used + size > self._slab.nbytes:
            self._slab, self._used = pinned_bytes(max(size, _SLAB_BYTES)), 0
        part = self._slab[self._used : self._used + size]
        self._used += -(-size // _ALIGNMENT) * _ALIGNMENT
        return part.view(source.dtype).view(source.shape)


def pinned_bytes(count: int) -> Tensor:
    """So many bytes of pinned memory."""
    return torch.empty(count, dtype=torch.uint8, pin_memory=True)


@final
class HostBuffers:
    """Host memory for one snapshot, used again for the next: pinned where a device copies to it.

    Getting memory from the operating system costs more than filling it (pinned: thirty times as
    much), so that `allocate` gets it before the first snapshot, beside the loop.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}
        self._memory = _PinnedMemory()
        self._cannot_pin = False
        self._allocating: threading.Thread | None = None

    def allocate(self, tensors: Mapping[str, Tensor]) -> None:
        """Begin to get the memory for those of `tensors` that a device holds; returns at once."""
        there = {key: t for key, t in tensors.items() if t.device.type in WITH_PINNED_MEMORY}
        if not there or self._allocating is not None:
            return
        # Shapes only: the thread must not keep tensors that the loop drops meanwhile.
        shapes = {key: torch.empty_like(t, device="meta") for key, t in there.items()}
        thread = threading.Thread(
            target=self._allocate_all, args=(shapes,), name="memory for checkpoints", daemon=True
        )
        thread.start()
        self._allocating = thread

    def _allocate_all(self, shapes: Mapping[str, Tensor]) -> None:
        for key, shape in shapes.items():
            self._buffers[key] = self._allocate(shape, pinned=True)

    @torch.no_grad()
    def copy(
        self, tensors: Mapping[str, Tensor]
    ) -> tuple[Mapping[str, Tensor], tuple[torch.Event, ...]]:
        """The tensors with their values copied here, and what to wait for before they are read."""
        if self._allocating is not None:
            self._allocating.join()
        former, self._buffers = self._buffers, {}
        buffers: list[Tensor] = []
        sources: list[Tensor] = []
        streams: dict[torch.device, torch.Stream] = {}
        for key, source in tensors.items():
            buffer = former.get(key)
            if buffer is None or buffer.dtype is not source.dtype or buffer.shape != source.shape:
                buffer = self._allocate(source, pinned=source.device.type in WITH_PINNED_MEMORY)
            self._buffers[key] = buffer
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

    def _allocate(self, source: Tensor, *, pinned: bool) -> Tensor:
        if pinned and not self._cannot_pin and source.nbytes:
            try:
                return self._memory.room_for(source)
            except RuntimeError as error:
                self._cannot_pin = True
                _log.warning("no more pinned memory, saving copies through ordinary: %s", error)
        return torch.empty(source.shape, dtype=source.dtype)


def take_snapshot(
    state: Any, rank_state: Any, *, rank: int = 0, buffers: HostBuffers | None = None
) -> Snapshot:
    """Take the state apart, and copy what will change.

    Args:
        state: What all ranks share. Whole tensors are those of rank 0, which writes them; of
            DTensors each rank writes its part.
        rank_state: What this rank alone knows (RNG, data position), or None.
        rank: This rank.
        buffers: Where tensors are copied to. None copies only from devices: right when nothing
            changes until the snapshot is written.

    Raises:
        UnsavableStateError: names each leaf that can't be saved.
    """
    shared, own = split(state), _split_own(rank_state)
    tensors, shards = _of_this_rank(shared, own, rank)
    copies: tuple[torch.Event, ...] = ()
    if buffers is not None:
        kept, copies = buffers.copy(tensors)
    else:
        kept = {key: _on_host(tensor) for key, tensor in tensors.items()}
    written = tuple(shard._replace(tensor=kept[shard.key]) for shard in shards)
    parts = {shard.key for shard in shards}
    whole = {key: tensor for key, tensor in kept.items() if key not in parts} if parts else kept
    return Snapshot(
        shared.skeleton if rank == 0 else None,
        own.skeleton,
        whole,
        written,
        copies,
        shared.history if rank == 0 else None,
    )


def allocate_for(state: Any, rank: int, buffers: HostBuffers) -> None:
    """Begin to get the host memory that a snapshot of `state` will take; returns at once."""
    buffers.allocate(_of_this_rank(split(state), split(None), rank)[0])


def _of_this_rank(shared: Split, own: Split, rank: int) -> tuple[dict[str, Tensor], list[Piece]]:
    """All tensors that `rank` copies, by key, and those among them that are parts of others."""
    tensors: dict[str, Tensor] = {}
    shards: list[Piece] = []
    for key, tensor in shared.tensors.items():
        if is_sharded(tensor):
            shards += _shards(key, tensor)
        elif rank == 0:
            tensors[key] = tensor
    tensors |= {rank_key(rank, key): tensor for key, tensor in own.tensors.items()}
    tensors |= {shard.key: shard.tensor for shard in shards}
    return tensors, shards


def size_estimate_bytes(state: Any, rank_state: Any = None) -> int:
    """Bytes that this rank's part of a checkpoint of `state` will have, within a few per cent.

    Raises:
        UnsavableStateError: names each leaf that can't be saved.
    """
    total = 0
    for part in (split(state), _split_own(rank_state)):
        total += sum(local_part(tensor).nbytes for tensor in part.tensors.values())
        total += len(json.dumps(part.skeleton)) + 100 * len(part.tensors)
    return total


def _split_own(rank_state: Any) -> Split:
    own = split(rank_state)
    if own.history is not None:
        raise UnsavableStateError(
            "state of one rank that can't be saved: the records of a history",
            remedy="put them into the state that all ranks share",
        )
    return own


def rank_key(rank: int, key: str) -> str:
    """The name in the files of a tensor that belongs to one rank."""
    return f"rank-{rank:05d}/{key}"


def _whole(key: str, tensor: Tensor) -> Piece:
    shape = tuple(tensor.shape)
    return Piece(key, tensor, (0,) * len(shape), shape)


def _shards(key: str, tensor: Any) -> list[Piece]:
    """The part of a DTensor that this rank writes: nothing where another rank writes the same."""
    coordinate = tensor.device_mesh.get_coordinate()
    if coordinate is None:
        return []
    placed = zip(tensor.placements, coordinate, strict=True)
    if any(placement.is_replicate() and place != 0 for placement, place in placed):
        return []
    local = local_part(tensor)
    if local.numel() == 0 and (tensor.numel() > 0 or any(coordinate)):
        return []
    offsets = offsets_of_part(tensor)
    assert offsets is not None, "a rank of its mesh holds a part"
    return [Piece(key, local, offsets, tuple(tensor.shape))]


def _on_host(tensor: Tensor) -> Tensor:
    return tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
