"""A copy of the state in host memory, from which a checkpoint is written while the loop goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trackside.checkpoint.errors import UnsavableStateError
from trackside.checkpoint.host_buffers import HostBuffers
from trackside.checkpoint.splitting import Json, Split, split
from trackside.checkpoint.tensors import Piece, is_sharded, local_part, offsets_of_part
from trackside.history import HistorySnapshot

_GROWTH_BYTES = 2**20
"""Room for what the state had not before the first step, beside the large parts."""


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


def allocate_for(
    state: Mapping[str, Any],
    rank: int,
    buffers: HostBuffers,
    parts_bytes: Mapping[str, int] | None = None,
) -> None:
    """Begin to get the host memory that a snapshot will take; returns at once.

    Args:
        state: The parts of the state that hold most tensors.
        rank: This rank.
        buffers: Whose memory it is.
        parts_bytes: Of the whole state, see `parts_bytes_of`.
    """
    others = sum(size for part, size in (parts_bytes or {}).items() if part not in state)
    tensors = _of_this_rank(split(state), split(None), rank)[0]
    buffers.allocate(tensors, reserve_bytes=others + _GROWTH_BYTES)


def parts_bytes_of(state: Any) -> dict[str, int]:
    """Bytes of the tensors in each part of a state: under each of its keys."""
    sizes: dict[str, int] = {}
    for key, tensor in split(state).tensors.items():
        part = key.partition(".")[0]
        sizes[part] = sizes.get(part, 0) + local_part(tensor).nbytes
    return sizes


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
