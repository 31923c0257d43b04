"""Configurations of kept runs as plain values, for reports: nothing of them is looked up."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trackside.config.experiment.kept import runs_in
from trackside.config.text.document import read_text
from trackside.config.text.problem import Findings
from trackside.errors import UsageError
from trackside.run_folder.inside import read_inside
from trackside.run_folder.names import CONFIGURATION, SETTINGS
from trackside.run_folder.small_files import LIMIT_BYTES, read_json


def configurations(folders: Iterable[Path]) -> dict[Path, dict[str, Any]]:
    """The runs in these folders, or in folders below them, each with its configuration, nested.

    Raises:
        UsageError: A folder holds no run.
    """
    found: dict[Path, dict[str, Any]] = {}
    for folder in folders:
        # A run's own folder may hold others, of a search say: it alone was asked for.
        own = [folder] if _is_run(folder) else [Path(one.folder) for one in runs_in(folder)]
        if not own:
            raise UsageError(
                f"there is no run in {folder}",
                expected=f"a folder with the {CONFIGURATION} or {SETTINGS} that a run leaves in it",
                remedy="`trackside runs` lists them",
            )
        found |= {one: configuration(one) for one in own}
    return found


def configuration(folder: Path) -> dict[str, Any]:
    """The content of a run's file; of a run made in Python its settings.

    `${...}` stays as it is written. In place of a file that can't be read stands why.
    """
    try:
        text = read_inside(folder, CONFIGURATION, limit_bytes=LIMIT_BYTES).decode()
    except FileNotFoundError:
        return read_json(folder / SETTINGS)
    except (OSError, UnicodeDecodeError) as error:
        return {CONFIGURATION: f"can't be read: {error}"}
    findings = Findings()
    layer = read_text(text, CONFIGURATION, findings)
    if findings or layer is None or not isinstance(layer.value, dict):
        return {CONFIGURATION: "can't be read: " + "; ".join(p.message for p in findings.problems)}
    return layer.value


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (CONFIGURATION, SETTINGS))
