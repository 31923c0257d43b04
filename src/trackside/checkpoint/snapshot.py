"""A copy of the state in host memory, from which a checkpoint is written while the loop goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from trackside.checkpoint.splitting import Json, split
from trackside.checkpoint.tensors import Piece, is_sharded, local_part

_log = logging.getLogger(__name__)

# Devices whose copies to pinned memory run by themselves, in the order of their stream.
_WITH_PINNED_MEMORY = frozenset({"cuda", "xpu"})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one rank contributes to a checkpoint. Nothing that the loop does changes it any more."""

    state: Json
    """Skeleton of the shared state; None on ranks above 0."""
    rank_state: Json
    """Skeleton of what this rank alone knows."""
    pieces: tuple[Piece, ...]
    copies: tuple[torch.Event, ...] = ()

    def wait(self) -> None:
        """Wait until the copies from the devices have arrived."""
        for copied in self.copies:
            copied.synchronize()

    @property
    def size_bytes(self) -> int:
        """Bytes of this rank's tensors."""
        return sum(piece.size_bytes for piece in self.pieces)


@final
class HostBuffers:
    """Host memory for one snapshot, used again for the next: pinned where a device copies to it.

    Getting memory from the operating system costs more than filling it.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}
        self._cannot_pin = False

    @torch.no_grad()
    def copy(self, pieces: Iterable[Piece]) -> tuple[tuple[Piece, ...], tuple[torch.Event, ...]]:
        """The pieces with their values copied here, and what to wait for before they are read."""
        former, self._buffers = self._buffers, {}
        copied: list[Piece] = []
        streams: dict[torch.device, torch.Stream] = {}
        for piece in pieces:
            source = piece.tensor
            buffer = former.pop(piece.key, None)
            fits = buffer is not None and buffer.dtype is source.dtype
            if buffer is None or not fits or buffer.shape != source.shape:
                buffer = self._allocate(source)
            self._buffers[piece.key] = buffer
            if source.is_cpu:
                buffer.copy_(source)
            else:
                asynchronous = buffer.is_pinned()
                buffer.copy_(source, non_blocking=asynchronous)
                if asynchronous and source.device not in streams:
                    streams[source.device] = torch.accelerator.current_stream(source.device)
            copied.append(Piece(piece.key, buffer, piece.offsets, piece.whole_shape))
        # What the loop queues after this moment runs after the copies, on the same stream.
        return tuple(copied), tuple(stream.record_event() for stream in streams.values())

    def _allocate(self, source: Tensor) -> Tensor:
        pinned = source.device.type in _WITH_PINNED_MEMORY and not self._cannot_pin
        if pinned:
            try:
                return torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
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
    shared, own = split(state), split(rank_state)
    pieces: list[Piece] = []
    for key, tensor in shared.tensors.items():
        if is_sharded(tensor):
            pieces += _shards(key, tensor)
        elif rank == 0:
            pieces.append(_whole(key, tensor))
    pieces += [_whole(rank_key(rank, key), tensor) for key, tensor in own.tensors.items()]
    copies: tuple[torch.Event, ...] = ()
    if buffers is not None:
        kept, copies = buffers.copy(pieces)
    else:
        kept = tuple(_on_host(piece) for piece in pieces)
    return Snapshot(shared.skeleton if rank == 0 else None, own.skeleton, kept, copies)


def size_estimate_bytes(state: Any, rank_state: Any = None) -> int:
    """Bytes that this rank's part of a checkpoint of `state` will have, within a few per cent.

    Raises:
        UnsavableStateError: names each leaf that can't be saved.
    """
    total = 0
    for part in (split(state), split(rank_state)):
        total += sum(local_part(tensor).nbytes for tensor in part.tensors.values())
        total += len(json.dumps(part.skeleton)) + 100 * len(part.tensors)
    return total


def rank_key(rank: int, key: str) -> str:
    """The name in the files of a tensor that belongs to one rank."""
    return f"rank-{rank:05d}/{key}"


def _whole(key: str, tensor: Tensor) -> Piece:
    shape = tuple(tensor.shape)
    return Piece(key, tensor, (0,) * len(shape), shape)


def _shards(key: str, tensor: Any) -> list[Piece]:
    """What this rank writes of a DTensor: nothing where another rank writes the same part."""
    from torch.distributed.checkpoint.default_planner import (  # noqa: PLC0415 - takes a second
        create_default_local_save_plan,
    )

    coordinate = tensor.device_mesh.get_coordinate()
    if coordinate is None:
        return []
    placed = zip(tensor.placements, coordinate, strict=True)
    if any(placement.is_replicate() and place != 0 for placement, place in placed):
        return []
    local = local_part(tensor)
    if local.numel() == 0 and (tensor.numel() > 0 or any(coordinate)):
        return []
    [item] = create_default_local_save_plan({key: tensor}, False).items
    assert item.tensor_data is not None, "a DTensor's item says where the part belongs"
    return [Piece(key, local, tuple(item.tensor_data.chunk.offsets), tuple(tensor.shape))]


def _on_host(piece: Piece) -> Piece:
    plain = piece.tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    return Piece(piece.key, plain, piece.offsets, piece.whole_shape)
