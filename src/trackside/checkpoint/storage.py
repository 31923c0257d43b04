"""Tensors to and from safetensors files.

Every rank writes its own file, without collectives: the asynchronous writer must not take part in
the loop's. The names of files, and where a piece says that it belongs, are those of the safetensors
storage of torch.distributed.checkpoint, which reads ours and whose files are read. Why it is not
used itself stands in docs/decisions/0031-checkpoint-storage.md.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from trackside.checkpoint.errors import StateMismatchError
from trackside.checkpoint.files import DigestWriter, FileEntry
from trackside.checkpoint.tensors import (
    STORED_DTYPES,
    Piece,
    is_sharded,
    local_part,
    offsets_of_part,
)
from trackside.errors import TracksideError

ALIGNMENT_BYTES = 8
"""Where the values begin; safetensors pads its header to this as well."""
_DTYPES = {name: dtype for dtype, name in STORED_DTYPES.items()}

Box = tuple[tuple[int, ...], tuple[int, ...]]
"""Offsets and sizes, per dimension."""


# ------------------------------------------------------------------------------------- writing


def write_pieces(folder: Path, pieces: Sequence[Piece], rank: int) -> list[FileEntry]:
    """Write this rank's pieces into `folder`, flushed. Returns the files; none for no pieces.

    In a stream: safetensors' own writer makes the whole file in memory first, with the
    interpreter's lock held all the while.

    Raises:
        OSError: as the operating system raised it.
    """
    if not pieces:
        return []
    header, ordered = header_and_order(pieces)
    with DigestWriter(folder / shard_file_name(rank + 1)) as file:
        file.write(header)
        for piece in ordered:
            file.write(piece.bytes_view())
        return [file.finish()]


def header_and_order(pieces: Sequence[Piece]) -> tuple[bytes, list[Piece]]:
    """The beginning of the file that holds these pieces, and the order of their values after it."""
    # As safetensors orders them: by alignment, then by name.
    ordered = sorted(pieces, key=lambda piece: (-piece.stored()[0].itemsize, piece.key))
    return _header(ordered), ordered


def shard_file_name(index: int) -> str:
    """The name that torch's storage gives to the file of a rank; ranks count from 1 here."""
    return f"shard-{index:05d}-model-00001-of-00001.safetensors"


def _header(pieces: Sequence[Piece]) -> bytes:
    """Header of the file: names, dtypes, shapes, and where each piece belongs."""
    entries: dict[str, Any] = {}
    offsets_of: dict[str, Any] = {}
    begin = 0
    for piece in pieces:
        dtype, shape, offsets, _ = piece.stored()
        end = begin + piece.size_bytes
        entries[piece.key] = {
            "dtype": STORED_DTYPES[dtype],
            "shape": shape,
            "data_offsets": (begin, end),
        }
        offsets_of[piece.key] = {"saved_offsets": offsets}
        begin = end
    about = {"DCP_SHARDING_INFO": json.dumps(offsets_of), "DCP_VERSION": "1.0", "format": "pt"}
    text = json.dumps({"__metadata__": about, **entries}, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % ALIGNMENT_BYTES)
    return len(text).to_bytes(8, "little") + text


# ------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class StoredPiece:
    """A part of a tensor in a file."""

    file: str
    box: Box
    dtype: torch.dtype


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the files hold it."""

    pieces: tuple[StoredPiece, ...]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its first piece; `read_tensors` refuses others beside it."""
        return self.pieces[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole: as far as its pieces reach."""
        reach = ([sum(at) for at in zip(*piece.box, strict=True)] for piece in self.pieces)
        return tuple(map(max, zip(*reach, strict=True)))


def stored_tensors(folder: Path, names: Sequence[str]) -> dict[str, StoredTensor]:
    """Contents of the named files by key. Reads headers only.

    Raises:
        ValueError: when a header is not one that `write_pieces` makes.
    """
    found: dict[str, list[StoredPiece]] = {}
    for name in (name for name in names if name.endswith(".safetensors")):
        with _as_value_error(f"{name} can't be read"), _opened(folder / name) as file:
            places = json.loads((file.metadata() or {}).get("DCP_SHARDING_INFO", "{}"))
            for key in file.keys():  # noqa: SIM118 - not a mapping
                found.setdefault(key, []).append(_stored_piece(name, file, key, places.get(key)))
    return {key: StoredTensor(tuple(pieces)) for key, pieces in found.items()}


def _stored_piece(name: str, file: Any, key: str, place: Any) -> StoredPiece:
    part = file.get_slice(key)
    sizes, kind = tuple(part.get_shape()), part.get_dtype()
    if kind not in _DTYPES:
        raise ValueError(f"{key!r} is of the unknown dtype {kind}")
    offsets = (0,) * len(sizes) if place is None else tuple(place["saved_offsets"])
    if len(offsets) != len(sizes) or any(type(at) is not int or at < 0 for at in offsets):
        raise ValueError(f"{key!r} has a piece at {offsets}, which is not a place")
    return StoredPiece(name, (offsets, sizes), _DTYPES[kind])


def read_tensors(
    folder: Path,
    names: Sequence[str],
    keys: Sequence[str],
    template: Callable[[str, tuple[int, ...]], Tensor | None] | None = None,
) -> dict[str, Tensor]:
    """Read tensors, whole and into host memory, or this rank's part of them.

    Args:
        folder: Of the checkpoint, verified.
        names: Its safetensors files; no other file is opened.
        keys: Which tensors; those of other keys are not read.
        template: From key and whole shape to a DTensor, or None. Such a tensor comes back sharded
            as its template is, on its device, and only what this rank holds is read.

    Raises:
        ValueError: when the files don't hold what they should.
        StateMismatchError: when a template has another shape than its tensor.
    """
    stored = stored_tensors(folder, names)
    targets: dict[str, Tensor] = {}
    wanted: dict[str, list[tuple[str, StoredPiece]]] = {}
    with _as_value_error("the safetensors files can't be read"):
        for key in keys:
            if key not in stored:
                raise ValueError(f"no file holds the tensor {key!r}")
            _check_whole(key, stored[key])
            like = None if template is None else template(key, stored[key].shape)
            targets[key] = _target(key, stored[key], like)
            for piece in stored[key].pieces:
                wanted.setdefault(piece.file, []).append((key, piece))
        for name, pieces in wanted.items():
            with _opened(folder / name) as file:
                for key, piece in pieces:
                    _read_into(targets[key], file, key, piece)
    return targets


def _opened(path: Path) -> Any:
    return safe_open(path, framework="pt", device="cpu")


@torch.no_grad()
def _read_into(target: Tensor, file: Any, key: str, piece: StoredPiece) -> None:
    """Copy that part of a piece into `target` which this rank holds of it."""
    whole = not is_sharded(target)
    if whole and tuple(target.shape) == piece.box[1]:
        target.copy_(file.get_tensor(key))  # a single number has no slices
        return
    mine = (0,) * target.dim() if whole else offsets_of_part(target)
    if mine is None:
        return
    local = local_part(target)
    begins = [max(a, b) for a, b in zip(mine, piece.box[0], strict=True)]
    ends = [min(a + n, b + m) for a, n, b, m in zip(mine, local.shape, *piece.box, strict=True)]
    if any(begin >= end for begin, end in zip(begins, ends, strict=True)):
        return
    cuts = list(zip(begins, ends, strict=True))
    there = tuple(slice(b - at, e - at) for (b, e), at in zip(cuts, piece.box[0], strict=True))
    here = tuple(slice(b - at, e - at) for (b, e), at in zip(cuts, mine, strict=True))
    local[here].copy_(file.get_slice(key)[there])


def _target(key: str, stored: StoredTensor, template: Tensor | None) -> Tensor:
    """Memory to read into. Made only after the file was seen to hold as much."""
    if template is None or not is_sharded(template):
        return torch.empty(stored.shape, dtype=stored.dtype)
    if tuple(template.shape) != stored.shape:
        raise StateMismatchError(
            f"{key} has another shape than in the checkpoint",
            expected=str(tuple(template.shape)),
            received=str(stored.shape),
        )
    # In the dtype of the file: reading must not round.
    return torch.empty_like(template, dtype=stored.dtype)


@contextlib.contextmanager
def _as_value_error(what: str) -> Iterator[None]:
    """One kind of error for the dozen that safetensors, json and torch raise for a bad header."""
    try:
        yield
    except (OSError, MemoryError, ValueError, TracksideError):
        raise
    except Exception as error:
        raise ValueError(f"{what}: {type(error).__name__}: {error}") from error


def _check_whole(key: str, stored: StoredTensor) -> None:
    """Refuse pieces that overlap or leave holes: a header may claim any place for its piece."""
    if any(piece.dtype is not stored.dtype for piece in stored.pieces):
        raise ValueError(f"{key!r} has pieces of several dtypes")
    boxes = [piece.box for piece in stored.pieces]
    if len(boxes) > 1:
        boxes = [box for box in boxes if 0 not in box[1]]
    held, wanted = sum(math.prod(sizes) for _, sizes in boxes), math.prod(stored.shape)
    if held != wanted or _overlapping(boxes):
        raise ValueError(f"{key!r} of shape {stored.shape} is not whole: {held} of {wanted} values")


def _overlapping(boxes: list[Box]) -> bool:
    """Whether two of the boxes (offsets, sizes) share a place."""
    if len(boxes) < 2:
        return False
    starts = np.array([offsets for offsets, _ in boxes], dtype=np.int64)
    ends = starts + np.array([sizes for _, sizes in boxes], dtype=np.int64)
    differing = np.flatnonzero((starts != starts[0]).any(0) | (ends != ends[0]).any(0))
    if len(differing) == 1:  # the usual one: sharded along one dimension, by many ranks
        along = differing[0]
        order = np.argsort(starts[:, along])
        return bool((starts[order[1:], along] < ends[order[:-1], along]).any())
    for i in range(len(boxes)):
        meets = ((starts < ends[i]) & (starts[i] < ends)).all(1)
        if meets.sum() > 1:  # each meets itself
            return True
    return False
