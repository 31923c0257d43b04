"""The contents of a remote folder, as its ledger says: the one thing there that a reader believes.

    trackside.0.json, trackside.1.json    the ledger, written in turns; the newer whole one counts
    claim.json                            which run uploads there
    objects/<digest>-<bytes>-<session>-<rank>

Objects are never changed: no two sessions, and no two ranks, write one name. Those of a ledger are
there before it is, and are removed when the one after the next is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from trackside.checkpoint.ledger import Entry, parse_returns
from trackside.checkpoint.lineage import Return
from trackside.checkpoint.manifest import is_run_id, parse_folder_name
from trackside.checkpoint.sealed import seal, unseal

FORMAT_VERSION = 1
LEDGERS = ("trackside.0.json", "trackside.1.json")
OBJECTS = "objects"
LIMIT_BYTES = 64 * 2**20

_OBJECT = re.compile(rf"{OBJECTS}/[0-9a-f]{{32}}-\d{{1,15}}-([0-9a-f]{{8}})-\d{{1,6}}")
_DIGEST = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[^\x00-\x1f\x7f/\\]{1,200}")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a file: an object."""

    name: str
    size_bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A file: its pieces, one after the other."""

    size_bytes: int
    digest: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint."""

    entry: Entry
    run_id: str
    files: Mapping[str, Stored]
    """By name; the manifest is one of them."""


@dataclass(frozen=True, slots=True)
class Contents:
    """A ledger of a remote folder."""

    written: int = 0
    """How often it was written: the newest has the highest."""
    session: str = ""
    """Name of the process that wrote it."""
    run_id: str = ""
    """The run that was begun last there."""
    folder: str = "checkpoints"
    """Where its checkpoints lie, below the folder of the run."""
    files: Mapping[str, Stored] = field(default_factory=dict)
    """Files of the run by their path, without its checkpoints."""
    checkpoints: Mapping[str, Kept] = field(default_factory=dict)
    """By name of their folder."""
    returns: tuple[Return, ...] = ()
    """Where the run that was begun last was taken back to an earlier checkpoint, oldest first."""

    def stored(self) -> Iterator[Stored]:
        """All files."""
        yield from self.files.values()
        for kept in self.checkpoints.values():
            yield from kept.files.values()

    def objects(self) -> set[str]:
        """Names of all objects that it needs."""
        return {part.name for one in self.stored() for part in one.parts}

    def of_run(self, run_id: str) -> list[Kept]:
        """The checkpoints of a run, oldest first."""
        mine = [kept for kept in self.checkpoints.values() if kept.run_id == run_id]
        return sorted(mine, key=lambda kept: kept.entry.sequence)

    def to_bytes(self) -> bytes:
        """The content of the object."""
        return seal({"format_version": FORMAT_VERSION, **asdict(self)})


def parse(data: bytes) -> Contents:
    """A ledger as it was written. `ValueError` when it isn't whole, or says what it can't."""
    content, _ = unseal(data)
    if content.pop("format_version", None) != FORMAT_VERSION:
        raise ValueError(f"this version of Trackside reads format {FORMAT_VERSION}")
    try:
        files = {_path(name): _stored(one) for name, one in content.pop("files").items()}
        kept = {_folder(name): _kept(one) for name, one in content.pop("checkpoints").items()}
        returns = parse_returns(content.pop("returns", ()))
        found = Contents(**content, files=files, checkpoints=kept, returns=returns)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it has not the entries of format {FORMAT_VERSION}: {error}") from error
    texts = (found.session, found.run_id, found.folder)
    if type(found.written) is not int or not all(isinstance(text, str) for text in texts):
        raise ValueError("its numbers and names are of other types")
    if found.run_id and not is_run_id(found.run_id):
        raise ValueError(f"{found.run_id!r} is not an id of a run")
    _path(found.folder)
    return found


def is_object(name: str) -> bool:
    """Whether an object's name is one of ours."""
    return _OBJECT.fullmatch(name) is not None


def session_of(name: str) -> str:
    """The session that wrote an object."""
    match = _OBJECT.fullmatch(name)
    return match[1] if match else ""


def object_name(digest: str, size_bytes: int, session: str, rank: int) -> str:
    """The name of an object."""
    return f"{OBJECTS}/{digest}-{size_bytes}-{session}-{rank}"


def is_path_inside(name: str) -> bool:
    """Whether a path, with `/`, names a file in a folder and can't lead out of it."""
    parts = name.split("/")
    return all(_NAME.fullmatch(part) and part not in (".", "..") for part in parts)


def _path(name: Any) -> str:
    if not isinstance(name, str) or len(name) > 1000 or not is_path_inside(name):
        raise ValueError(f"it lists {name!r}, which can't be a file of a run")
    return name


def _folder(name: str) -> str:
    if parse_folder_name(name) is None:
        raise ValueError(f"it lists {name!r}, which is not the name of a checkpoint")
    return name


def _kept(content: dict[str, Any]) -> Kept:
    entry = Entry(**content["entry"])
    if not isinstance(content["run_id"], str) or not is_run_id(content["run_id"]):
        raise ValueError("a checkpoint is of no run")
    if type(entry.sequence) is not int or type(entry.step) is not int:
        raise ValueError("a checkpoint has no number")
    files = {_single(name): _stored(one) for name, one in content["files"].items()}
    return Kept(entry, content["run_id"], files)


def _single(name: str) -> str:
    if "/" in _path(name):
        raise ValueError(f"it lists {name!r} in a checkpoint")
    return name


def _stored(content: dict[str, Any]) -> Stored:
    stored = Stored(
        content["size_bytes"],
        content["digest"],
        tuple(Part(**part) for part in content["parts"]),
    )
    sizes: list[Any] = [stored.size_bytes, *(part.size_bytes for part in stored.parts)]
    digests: list[Any] = [stored.digest, *(part.digest for part in stored.parts)]
    names: list[Any] = [part.name for part in stored.parts]
    if any(type(size) is not int or size < 0 for size in sizes):
        raise ValueError("a file has no size")
    if not all(isinstance(digest, str) and _DIGEST.fullmatch(digest) for digest in digests):
        raise ValueError("a file has no digest")
    if not all(isinstance(name, str) and is_object(name) for name in names):
        raise ValueError("it lists an object that isn't one of ours")
    if sum(part.size_bytes for part in stored.parts) != stored.size_bytes:
        raise ValueError("the pieces of a file don't make the whole")
    return stored
