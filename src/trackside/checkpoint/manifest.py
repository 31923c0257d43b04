"""The manifest: what a checkpoint says about itself, and the only thing that a reader believes.

A folder without a matching manifest is not a checkpoint. A file that the manifest doesn't list is
not looked at; a name in it that could lead out of the folder is refused.
"""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from trackside.checkpoint.errors import DamagedCheckpointError
from trackside.checkpoint.files import FileEntry, explain, read_regular
from trackside.checkpoint.sealed import sealed, unseal

FORMAT_VERSION = 2
"""1 had no files that grow: records were part of the state."""
MANIFEST_NAME = "manifest.json"
STATE_NAME = "state.json"
LIMIT_BYTES = 64 * 2**20
"""A manifest has about a hundred bytes per file; a longer file is not a manifest."""

_STEP_FOLDER = re.compile(r"step-(\d{10,18})(?:-(\d{1,6}))?")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.(json|safetensors|records)")
_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Description of a checkpoint, and of the files in it."""

    run_id: str
    """Id of the run that wrote it; a resumed run keeps its id."""
    step: int
    """Steps completed."""
    sequence: int
    """Number of the save in its folder: the newest has the highest, whatever its step."""
    files: tuple[FileEntry, ...]
    world_size: int = 1
    progress: Mapping[str, Any] = field(default_factory=dict)
    """Counters of what is done."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Finite values that belong to these weights, by full name."""
    reason: str = ""
    """Why it was saved: a schedule, a signal, a callback's request."""
    saved_at: str = ""
    """Coordinated universal time, ISO 8601."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of Trackside, torch and Python."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all files, the manifest itself left out."""
        return sum(file.size_bytes for file in self.files)

    def to_bytes(self) -> bytes:
        """The content of the file."""
        return self.sealed()[0]

    def sealed(self) -> tuple[bytes, str]:
        """The content of the file, and its digest."""
        return sealed({"format_version": FORMAT_VERSION, **asdict(self)})


def parse_manifest(data: bytes) -> tuple[Manifest, str]:
    """A manifest and its digest. `ValueError` when it isn't whole, or lists what it can't."""
    content, digest = unseal(data)
    version = content.pop("format_version", None)
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise ValueError(
            f"it has format {version}, and this version of Trackside reads up to {FORMAT_VERSION}"
        )
    try:
        files = tuple(FileEntry(**entry) for entry in content.pop("files"))
        manifest = Manifest(**content, files=files)
    except (KeyError, TypeError) as error:
        raise ValueError(f"it has not the entries of format {FORMAT_VERSION}: {error}") from error
    _check(manifest)
    return manifest, digest


def _check(manifest: Any) -> None:
    """Refuse what the types promise and a file may break. Types aren't checked on the way in."""
    seen = {MANIFEST_NAME}
    for file in manifest.files:
        if not isinstance(file.name, str) or not _FILE_NAME.fullmatch(file.name):
            raise ValueError(f"it lists {file.name!r}, which is not a file of this format")
        if file.name in seen:
            raise ValueError(f"it lists {file.name!r} twice, or itself")
        kinds = (type(file.size_bytes), type(file.digest), type(file.grows))
        if kinds != (int, str, bool) or file.size_bytes < 0:
            raise ValueError(f"it lists {file.name!r} without a size and a digest")
        seen.add(file.name)
    numbers = (manifest.step, manifest.sequence, manifest.world_size)
    if any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("step, sequence and world size are not counts")
    if not isinstance(manifest.run_id, str) or not _RUN_ID.fullmatch(manifest.run_id):
        raise ValueError(f"{manifest.run_id!r} is not an id of a run")
    for name in ("progress", "metrics", "versions"):
        if not isinstance(getattr(manifest, name), dict):
            raise ValueError(f"{name} is not a table")


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """The manifest of the checkpoint in `folder`, and its digest.

    Raises:
        DamagedCheckpointError: when it is missing or damaged.
    """
    try:
        return parse_manifest(read_regular(folder / MANIFEST_NAME, limit_bytes=LIMIT_BYTES))
    except FileNotFoundError as error:
        missing = f"{MANIFEST_NAME} is missing" if folder.exists() else "there is no such folder"
        raise DamagedCheckpointError(folder, (missing,)) from error
    except OSError as error:
        problem = f"{MANIFEST_NAME} can't be read ({explain(error)})"
        raise DamagedCheckpointError(folder, (problem,)) from error
    except ValueError as error:
        raise DamagedCheckpointError(folder, (f"{MANIFEST_NAME}: {error}",)) from error


def folder_name(step: int, attempt: int = 1) -> str:
    """`step-0000001200`, and `step-0000001200-2` for what is saved at that step after it.

    A number (`resume=1200`) means the last of them that is whole and of this run; the name of a
    folder means that folder.
    """
    name = f"step-{step:010d}"
    return name if attempt == 1 else f"{name}-{attempt}"


def parse_folder_name(name: str) -> tuple[int, int] | None:
    """Step and attempt of a checkpoint's folder, or None for another name."""
    match = _STEP_FOLDER.fullmatch(name)
    return (int(match[1]), int(match[2] or 1)) if match else None


def rank_file_name(rank: int) -> str:
    """Name of the JSON file with what one rank alone knows."""
    return f"rank-{rank:05d}.json"


def is_run_id(text: str) -> bool:
    """Whether `text` can be the id of a run: up to 64 letters, digits, `_` and `-`."""
    return _RUN_ID.fullmatch(text) is not None


@functools.cache
def current_versions() -> dict[str, str]:
    """Of Trackside, torch and Python."""
    try:
        own = importlib.metadata.version("trackside")
    except importlib.metadata.PackageNotFoundError:
        own = "not installed, run from its source"
    return {
        "trackside": own,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
