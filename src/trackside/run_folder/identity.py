"""Identity of a folder's run: written before the first step, so that a kill can't blur it.

A folder may hold checkpoints of several runs, one after the other. `resume="auto"` goes on with the
run that was begun last, and with no other, even when that one was killed before its first save.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from trackside.errors import UsageError
from trackside.run_folder.inside import read_inside, replace_inside

IDENTITY = "run.json"
_LIMIT_BYTES = 64 * 2**10


@dataclass(frozen=True, slots=True)
class Identity:
    """The run that a folder is of."""

    run_id: str
    begun: str
    """Coordinated universal time, ISO 8601."""


def identify(folder: Path, run_id: str) -> None:
    """Write down that the folder is that run's from now on. Raises `OSError`."""
    known = None
    with contextlib.suppress(UsageError):
        known = identity(folder)
    if known is not None and known.run_id == run_id:
        return
    content = {"run_id": run_id, "begun": datetime.now(UTC).isoformat(timespec="seconds")}
    replace_inside(folder, IDENTITY, (json.dumps(content, indent=1) + "\n").encode())


def said(folder: Path) -> str | None:
    """The text that says which run a folder is of; None where there is none that can be read."""
    try:
        return read_inside(folder, IDENTITY, limit_bytes=_LIMIT_BYTES).decode()
    except (OSError, ValueError):
        return None


def put_back(folder: Path, text: str | None) -> None:
    """Let the folder say what `said` said before. Raises `OSError`."""
    if text is None:
        (folder / IDENTITY).unlink(missing_ok=True)
    else:
        replace_inside(folder, IDENTITY, text)


def identity(folder: Path) -> Identity | None:
    """The run that a folder is of; None where nothing says so (it was made by an older version).

    Raises:
        UsageError: The file that says so can't be read.
    """
    try:
        content = json.loads(read_inside(folder, IDENTITY, limit_bytes=_LIMIT_BYTES))
        if not isinstance(content["run_id"], str) or not isinstance(content["begun"], str):
            raise ValueError("it holds no id of a run")
        return Identity(content["run_id"], content["begun"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{folder / IDENTITY} can't be read: which run the folder is of is not known",
            received=str(error) or type(error).__name__,
            remedy=f"name the checkpoint by its path, or remove {os.fspath(folder / IDENTITY)}",
        ) from error


def known_id(folder: Path) -> str | None:
    """Id of the run that a folder is of; None where nothing says so that can be read."""
    with contextlib.suppress(UsageError):
        known = identity(folder)
        return None if known is None else known.run_id
    return None
