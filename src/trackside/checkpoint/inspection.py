"""The contents of a checkpoint, for people: read without loading tensors, also when damaged."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trackside.checkpoint.errors import DamagedCheckpointError
from trackside.checkpoint.joining import join, tensor_leaves
from trackside.checkpoint.manifest import Manifest
from trackside.checkpoint.reader import Checkpoint, verify
from trackside.checkpoint.record_file import RECORDS_NAME
from trackside.checkpoint.snapshot import rank_key
from trackside.checkpoint.splitting import Json
from trackside.checkpoint.tensors import DTYPES_BY_NAME


@dataclass(frozen=True, slots=True)
class TensorSummary:
    """A tensor of a checkpoint."""

    path: str
    """Where it stands in the state: `model.encoder.0.weight`."""
    dtype: str
    shape: tuple[int, ...]
    pieces: int
    """Into how many it is sharded."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """Contents of a checkpoint."""

    path: Path
    problems: tuple[str, ...]
    """Problems; empty when it verified."""
    ignored: tuple[str, ...]
    """Names in the folder that don't belong to it."""
    manifest: Manifest | None = None
    """Progress, metrics, versions, files and sizes; None when it is damaged itself."""
    tensors: tuple[TensorSummary, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)
    """The shared state without its tensors: `{"callbacks": {"ema": {"updates": 3}}}`."""
    rank_values: dict[int, Any] = field(default_factory=dict)
    """The same for what each rank alone knew."""

    @property
    def verified(self) -> bool:
        """Whether every byte is the one that was written."""
        return not self.problems


def inspect(path: str | os.PathLike[str]) -> Inspection:
    """Look into a checkpoint. A damaged one raises nothing: the damage is part of the answer."""
    report = verify(path)
    bare = Inspection(report.path, report.problems, report.ignored, report.manifest)
    if report.manifest is None or report.problems:
        return bare
    checkpoint = Checkpoint(report.path, report.manifest)
    try:
        return _look_into(checkpoint, bare)
    except DamagedCheckpointError as error:
        return Inspection(report.path, error.problems, report.ignored, report.manifest)


def _look_into(checkpoint: Checkpoint, bare: Inspection) -> Inspection:
    from trackside.checkpoint.storage import stored_tensors  # noqa: PLC0415 - start-up time

    shared = checkpoint.skeleton()
    own = {
        rank: skeleton
        for rank in range(checkpoint.manifest.world_size)
        if (skeleton := checkpoint.rank_skeleton(rank)) is not None
    }
    try:
        stored = stored_tensors(checkpoint.path, checkpoint.tensor_files)
        tensors: list[TensorSummary] = []
        for prefix, skeleton in (("", shared), *((rank_key(r, ""), s) for r, s in own.items())):
            for leaf in tensor_leaves(skeleton):
                found = stored[prefix + leaf.key]
                dtype = leaf.dtype or str(found.dtype).removeprefix("torch.")
                size_bytes = math.prod(found.shape) * found.dtype.itemsize
                shape = tuple(found.shape if leaf.shape is None else leaf.shape)
                if leaf.dtype in _AS_PAIRS:
                    shape = shape[:-1]
                path, pieces = prefix + leaf.path, len(found.pieces)
                tensors.append(TensorSummary(path, dtype, shape, pieces, size_bytes))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        problem = f"the tensors can't be listed: {error}"
        raise DamagedCheckpointError(checkpoint.path, (problem,)) from error
    try:
        values = join(_without_tensors(shared), {})
        rank_values = {rank: join(_without_tensors(skeleton), {}) for rank, skeleton in own.items()}
    except ValueError as error:
        raise DamagedCheckpointError(checkpoint.path, (f"the state: {error}",)) from error
    return Inspection(
        bare.path,
        bare.problems,
        bare.ignored,
        bare.manifest,
        tuple(tensors),
        values if isinstance(values, dict) else {"state": values},
        rank_values,
    )


# Complex dtypes that the file holds as real and imaginary part, in a last dimension.
_AS_PAIRS = frozenset(name for name, dtype in DTYPES_BY_NAME.items() if dtype.is_complex)


def _without_tensors(skeleton: Json) -> Json:
    """A skeleton without tensors: left out of dicts, named in lists, where places count."""
    if isinstance(skeleton, list):
        return ["<tensor>" if _is_tensor(item) else _without_tensors(item) for item in skeleton]
    if not isinstance(skeleton, dict):
        return skeleton
    if skeleton.keys() == {"$records"}:
        return f"{skeleton['$records']} records, in {RECORDS_NAME}"
    return {name: _without_tensors(item) for name, item in skeleton.items() if not _is_tensor(item)}


def _is_tensor(skeleton: Json) -> bool:
    return isinstance(skeleton, dict) and not skeleton.keys().isdisjoint({"$tensor", "$array"})
