"""`trackside init`: a project that trains within a minute, to begin with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from trackside.cli.running import AsJson, reported_errors
from trackside.errors import UsageError, printable

PROJECT = Path(__file__).parent / "project"
SCHEMA = "trackside.schema.json"


def init(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="The new folder; it may exist.", show_default=False),
    ],
    as_json: AsJson = False,
) -> None:
    r"""Make a project that trains within a minute: a file, data and model, a test.

    Nothing that is there is replaced.

    \b
    Examples:
      trackside init mine
      cd mine && trackside train train.yaml
    """
    with reported_errors(as_json, False):
        from trackside.config.schema import as_text, file_schema
        from trackside.machine.paths import folder_path
        from trackside.run_folder.inside import replace_inside

        folder = folder_path(folder, "FOLDER")
        files = project_files()
        there = [name for name in files if (folder / name).exists()]
        if there:
            raise UsageError(
                f"{folder} has {', '.join(there)} already: nothing was written",
                remedy="name another folder",
            )
        for name, text in files.items():
            replace_inside(folder, name, text)
        replace_inside(folder, SCHEMA, as_text(file_schema()))
    if as_json:
        print(json.dumps({"folder": str(folder), "files": [*files, SCHEMA]}))
        return
    print(printable(f"{folder}: {', '.join([*files, SCHEMA])}"))
    print(printable(f"next: cd {folder} && trackside train train.yaml"))


def project_files() -> dict[str, str]:
    """Content of the files of a new project, by name."""
    found = {path.stem: path.read_text(encoding="utf-8") for path in sorted(PROJECT.glob("*.txt"))}
    return {f".{name}" if name == "gitignore" else name: text for name, text in found.items()}
