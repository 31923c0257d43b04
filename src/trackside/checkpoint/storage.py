"""Tensors to and from safetensors files, through torch.distributed.checkpoint.

This module imports torch.distributed.checkpoint, which takes a second; it is itself imported only
where something is written or read.

Every rank plans for itself and writes its own file, without collectives: the asynchronous writer
must not take part in the loop's. What torch's storage writer leaves to be wished for, and why
`write_data` is overridden, stands in docs/decisions/0031-checkpoint-storage.md.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystem
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import (
    SavePlan,
    SavePlanner,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from trackside.checkpoint.errors import StateMismatchError
from trackside.checkpoint.files import DigestWriter, FileEntry
from trackside.checkpoint.tensors import STORED_DTYPES, Piece, is_sharded
from trackside.errors import TracksideError

ALIGNMENT_BYTES = 8
"""Where the values begin; safetensors pads its header to this as well."""


# ------------------------------------------------------------------------------------- writing


def write_pieces(folder: Path, pieces: Sequence[Piece], rank: int) -> list[FileEntry]:
    """Write this rank's pieces into `folder`, flushed. Returns the files; none for no pieces.

    Raises:
        OSError: as the operating system raised it.
    """
    if not pieces:
        return []
    # The steps of torch.distributed.checkpoint.save for one process. Called one by one, because
    # `save` warns about the missing process group and wraps every OSError into text.
    writer = _Writer(folder, rank)
    planner = _Planner(pieces)
    planner.set_up_planner({}, is_coordinator=True)
    writer.set_up_storage_writer(True)
    # Without prepare_local_plan: all it does is to make the folder, were it to have vanished.
    plans, metadata = planner.create_global_plan([planner.create_local_plan()])
    [plan] = writer.prepare_global_plan(plans)
    written = writer.write_data(planner.finish_plan(plan), planner)
    written.wait()
    writer.finish(metadata, [written.value()])
    return writer.entries


@final
class _Planner(SavePlanner):
    """Plans to write the pieces it is given: what this rank holds of a DTensor, or a tensor."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = {piece.key: piece for piece in pieces}

    def set_up_planner(
        self,
        state_dict: Mapping[str, Any],
        storage_meta: StorageMeta | None = None,
        is_coordinator: bool = False,
    ) -> None:
        """Nothing: the pieces are known."""

    def create_local_plan(self) -> SavePlan:
        return SavePlan([_write_item(piece) for piece in self._pieces.values()])

    def create_global_plan(self, all_plans: list[SavePlan]) -> tuple[list[SavePlan], Metadata]:
        return all_plans, Metadata({})

    def finish_plan(self, new_plan: SavePlan) -> SavePlan:
        return new_plan

    def resolve_data(self, write_item: WriteItem) -> Tensor | io.BytesIO:
        return self.piece(write_item).tensor

    def piece(self, write_item: WriteItem) -> Piece:
        return self._pieces[write_item.index.fqn]


def _write_item(piece: Piece) -> WriteItem:
    dtype, shape, offsets, whole_shape = piece.stored()
    return WriteItem(
        index=MetadataIndex(piece.key, torch.Size(offsets)),
        type=WriteItemType.SHARD,
        tensor_data=TensorWriteData(
            chunk=ChunkStorageMetadata(torch.Size(offsets), torch.Size(shape)),
            properties=TensorProperties(dtype=dtype),
            size=torch.Size(whole_shape),
        ),
    )


@final
class _Writer(HuggingFaceStorageWriter):
    """torch's safetensors storage, streamed, with a digest, and by rank without a group."""

    def __init__(self, folder: Path, rank: int) -> None:
        super().__init__(str(folder), save_distributed=True)
        self._rank = rank
        self.entries: list[FileEntry] = []

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        # The base numbers the plans that it sees; each rank sees its own only.
        [plan] = plans
        return [SavePlan(plan.items, storage_data={"shard_index": self._rank + 1})]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        # The base makes the whole file in memory, with the interpreter's lock held all the while.
        assert isinstance(planner, _Planner)
        pieces = [planner.piece(item) for item in plan.items]
        # As safetensors orders them: by alignment, then by name.
        pieces.sort(key=lambda piece: (-piece.stored()[0].itemsize, piece.key))
        index = plan.storage_data["shard_index"]
        with DigestWriter(Path(self.path) / shard_file_name(index)) as file:
            file.write(_header(pieces))
            for piece in pieces:
                file.write(piece.bytes_view())
            self.entries.append(file.finish())
        done: Future[list[WriteResult]] = Future()
        done.set_result([])
        return done


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


def stored_tensors(folder: Path, names: Sequence[str]) -> dict[str, TensorStorageMetadata]:
    """Contents of the named files: key, whole shape, dtype and pieces. Reads headers only.

    Raises:
        ValueError: when a header is not one that `write_pieces` makes.
    """
    with _as_value_error("the safetensors files can't be read"):
        _, metadata = _open(folder, names)
    return metadata.state_dict_metadata  # type: ignore[return-value]


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
    with _as_value_error("the safetensors files can't be read"):
        reader, metadata = _open(folder, names)
        targets: dict[str, Any] = {}
        for key in keys:
            stored = metadata.state_dict_metadata.get(key)
            if not isinstance(stored, TensorStorageMetadata):
                raise ValueError(f"no file holds the tensor {key!r}")
            _check_whole(key, stored)
            like = None if template is None else template(key, tuple(stored.size))
            targets[key] = _target(key, stored, like)
        # The steps of torch.distributed.checkpoint.load for one process, for the reasons above.
        planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        planner.set_up_planner(targets, metadata, True)
        reader.set_up_storage_reader(metadata, True)
        plan = reader.prepare_local_plan(planner.create_local_plan())
        [plan] = planner.create_global_plan([plan])
        reader.read_data(planner.finish_plan(plan), planner).wait()
    return targets


def _target(key: str, stored: TensorStorageMetadata, template: Tensor | None) -> Tensor:
    """Memory to read into. Made only after the file was seen to hold as much."""
    if template is None or not is_sharded(template):
        return torch.empty(stored.size, dtype=stored.properties.dtype)
    if template.shape != stored.size:
        raise StateMismatchError(
            f"{key} has another shape than in the checkpoint",
            expected=str(tuple(template.shape)),
            received=str(tuple(stored.size)),
        )
    # In the dtype of the file: reading must not round.
    return torch.empty_like(template, dtype=stored.properties.dtype)


@final
class _ListedFiles(FileSystem):
    """A folder in which only the listed files exist: torch's reader takes every file it finds."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def ls(self, path: str | os.PathLike[str]) -> list[str]:
        return [str(Path(path) / name) for name in self._names]


def _open(folder: Path, names: Sequence[str]) -> tuple[HuggingFaceStorageReader, Metadata]:
    reader = HuggingFaceStorageReader(str(folder))
    reader.fs = _ListedFiles([name for name in names if name.endswith(".safetensors")])
    return reader, reader.read_metadata()


@contextlib.contextmanager
def _as_value_error(what: str) -> Iterator[None]:
    """One kind of error for the dozen that safetensors, json and torch raise for a bad header."""
    try:
        yield
    except (OSError, MemoryError, ValueError, TracksideError):
        raise
    except Exception as error:
        raise ValueError(f"{what}: {type(error).__name__}: {error}") from error


def _check_whole(key: str, stored: TensorStorageMetadata) -> None:
    """Refuse pieces that overlap or leave holes: a header may claim any place for its piece."""
    boxes = [(tuple(chunk.offsets), tuple(chunk.sizes)) for chunk in stored.chunks]
    if len(boxes) > 1:
        boxes = [box for box in boxes if 0 not in box[1]]
    for offsets, sizes in boxes:
        if len(offsets) != len(sizes) or any(type(at) is not int or at < 0 for at in offsets):
            raise ValueError(f"{key!r} has a piece at {offsets}, which is not a place")
    held, wanted = sum(math.prod(sizes) for _, sizes in boxes), math.prod(stored.size)
    if held != wanted or _overlapping(boxes):
        raise ValueError(
            f"{key!r} of shape {tuple(stored.size)} is not whole: {held} of {wanted} values"
        )


def _overlapping(boxes: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> bool:
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
