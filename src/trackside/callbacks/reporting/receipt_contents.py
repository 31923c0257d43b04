"""Contents of a receipt: digests of the parts of a run, in the order of the chain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from trackside.callbacks.reporting.json_lines_logger import line
from trackside.checkpoint import candidates, open_checkpoint
from trackside.checkpoint.manifest import MANIFEST_NAME, Manifest
from trackside.data.fingerprints import fingerprint, sha256_of
from trackside.distributed.state import is_sharded
from trackside.errors import CheckpointError
from trackside.history import Record
from trackside.machine import randomness
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.run_folder import identity
from trackside.run_folder.names import (
    CHANGES,
    CONFIGURATION,
    ENVIRONMENT,
    HISTORY,
    OUTCOME,
    SETTINGS,
)
from trackside.run_folder.receipts import canonical, sha256_of_file
from trackside.run_folder.small_files import read_json

Content = dict[str, Any]

SAMPLES = 64
"""Samples of a data set that are digested, spread over its length, its ends included."""
CHECKPOINT = "checkpoints/"
"""Before the name of a checkpoint in the name of its entry."""


def contents(
    run: Run, outcome: Outcome, checkpoints: Path | None, continues: str | None
) -> Iterator[tuple[str, Content]]:
    """All entries of a run that has ended.

    Args:
        run: The run.
        outcome: How it ended.
        checkpoints: Folder of its checkpoints; None where nothing saves any.
        continues: The seal of the receipt that the run had before it was resumed.
    """
    folder = run.directory
    known = identity.identity(folder)
    yield (
        "run",
        {
            "id": run.id,
            "begun": None if known is None else known.begun,
            "status": outcome.status.value,
            "step": outcome.step,
            "ranks": run.world.size,
            "continues": continues,
        },
    )
    yield "configuration", {**files(folder, (CONFIGURATION, SETTINGS)), "values": _values(run)}
    commit = read_json(folder / ENVIRONMENT).get("git_commit")
    yield "code", {"git_commit": commit, **files(folder, (CHANGES,))}
    yield "environment", files(folder, (ENVIRONMENT,))
    yield "data", {name: data_content(source.data) for name, source in run.data.items()}
    yield "records", records_content(folder, run.history)
    newest: Path | None = None
    if checkpoints is not None:
        for name, content in saved_checkpoints(checkpoints, run.id):
            newest = checkpoints / name
            yield CHECKPOINT + name, {**content, "folder": _below(checkpoints, folder)}
    weights = weights_content(run.models)
    holds = newest is not None and weights_of_checkpoint(newest) == weights
    yield "weights", {"models": weights, "checkpoint": newest.name if newest and holds else None}
    yield "outcome", files(folder, (OUTCOME,))


def _values(run: Run) -> str:
    return hashlib.sha256(canonical(dict(run.config))).hexdigest()


def files(folder: Path, names: Iterable[str]) -> Content:
    """SHA-256 of those of the files that are there."""
    found = {name: sha256_of_file(folder, name) for name in names}
    return {"files": {name: digest for name, digest in found.items() if digest is not None}}


# --- data --------------------------------------------------------------------------------------


def data_content(data: object) -> Content:
    """Digest of some samples of a data set; of one without numbers, of what its attributes show.

    A sample is loaded as training loads it, each after seeding all generators: random changes
    are the same each time. The program's generators are left alone.
    """
    samples = data.dataset if isinstance(data, DataLoader) else data
    if isinstance(samples, Mapping) and samples:
        samples = _Rows(samples)
    if not (hasattr(samples, "__len__") and hasattr(samples, "__getitem__")):
        return {"method": "attributes, a few entries of each", "sha256": _shown(samples)}
    length = len(samples)
    numbers = chosen(length)
    found = hashlib.sha256()
    with randomness.preserved():
        for number in numbers:
            randomness.seed_everything(number)
            found.update(sha256_of(samples[number]).encode())
    method = f"{len(numbers)} of {length} samples, spread evenly, each loaded after seeding"
    return {"method": method, "samples": length, "sha256": found.hexdigest()}


class _Rows:
    """Columns by name, as samples."""

    def __init__(self, columns: Mapping[Any, Any]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return min(len(column) for column in self.columns.values())

    def __getitem__(self, number: int) -> dict[Any, Any]:
        return {name: column[number] for name, column in self.columns.items()}


def chosen(length: int) -> list[int]:
    """Numbers of the samples that are digested."""
    if length <= SAMPLES:
        return list(range(length))
    return [(length - 1) * index // (SAMPLES - 1) for index in range(SAMPLES)]


def _shown(data: object) -> str:
    return hashlib.sha256(repr(fingerprint(data)).encode()).hexdigest()


# --- records, checkpoints, weights ---------------------------------------------------------------


def records_content(folder: Path, records: Iterable[Record]) -> Content:
    """Digest of the records as lines of JSON, and whether the file of records holds just these."""
    text = [line(record) for record in records]
    digest = hashlib.sha256("".join(text).encode()).hexdigest()
    kept = sha256_of_file(folder, HISTORY) == digest
    return {"count": len(text), "sha256": digest, "file": HISTORY if kept else None}


def saved_checkpoints(root: Path, run_id: str) -> Iterator[tuple[str, Content]]:
    """Name and content of each checkpoint of a run, in the order in which they were saved."""
    for one in reversed(candidates(root, run_id=run_id)):
        if one.manifest is not None:
            digests = digests_of(one.path, one.manifest)
            left = {"left_behind": True} if one.left_behind else {}
            yield one.path.name, {"step": one.step, **left, "files": digests}


def _below(root: Path, folder: Path) -> str:
    """Where the checkpoints lie: below the run's folder, which may be moved, or elsewhere."""
    inside = root.resolve().is_relative_to(folder.resolve())
    return str(root.resolve().relative_to(folder.resolve()) if inside else root.resolve())


def digests_of(checkpoint: Path, manifest: Manifest) -> Content:
    """Size and SHA-256 of each file of a checkpoint; of records, of the part that is its own."""
    found: Content = {MANIFEST_NAME: {"sha256": sha256_of_file(checkpoint, MANIFEST_NAME)}}
    for file in manifest.files:
        digest = sha256_of_file(checkpoint, file.name, limit_bytes=file.size_bytes)
        found[file.name] = {"bytes": file.size_bytes, "sha256": digest}
    return found


def weights_content(models: Mapping[str, nn.Module]) -> dict[str, str] | None:
    """SHA-256 of the state of each model by name; None where one is sharded over ranks."""
    states = {name: model.state_dict() for name, model in models.items()}
    if any(is_sharded(v) for state in states.values() for v in state.values()):
        return None
    return _digests(states)


def weights_of_checkpoint(path: Path) -> dict[str, str] | None:
    """The same of a checkpoint; None where it can't be read."""
    try:
        return _digests(open_checkpoint(path).state()["models"])
    except (CheckpointError, OSError):
        return None


def _digests(states: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {name: sha256_of(dict(sorted(state.items()))) for name, state in states.items()}
