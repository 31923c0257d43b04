"""Fills a file system of its own, one of 24 MiB, and tells what became of the checkpoints.

To be run as `unshare --user --map-root-user --mount`: the mount is seen by this process alone.
Prints one JSON object.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from trackside.checkpoint import (
    CheckpointWriteError,
    CheckpointWriter,
    Retention,
    Saving,
    newest_valid,
    verify,
)

VALUES = 1_000_000  # 4 MB


def state_at(step: int) -> dict[str, Any]:
    return {"weight": torch.full((VALUES,), float(step))}


def mount(*options: str) -> None:
    subprocess.run(["mount", *options], check=True)


def whole(root: Path) -> list[str]:
    """Names of the checkpoints that verify; any other name that looks final is told too."""
    return sorted(path.name + ("" if verify(path).ok else "?") for path in root.glob("step-*"))


def attempt(writer: CheckpointWriter, step: int) -> dict[str, Any]:
    error = None
    try:
        writer.save(state_at(step), Saving(step=step))
        writer.close()
    except CheckpointWriteError as caught:
        error = f"{caught} {type(caught.__cause__).__name__}"
    writer.poll()
    return {
        "error": error,
        "whole": whole(writer.root),
        "temporary": [path.name for path in writer.root.glob(".tmp-*")],
    }


def main(folder: str) -> None:
    mount("-t", "tmpfs", "-o", "size=24m", "none", folder)
    root = Path(folder) / "checkpoints"
    writers = {
        how: CheckpointWriter(root, "run", background=how == "background")
        for how in ("background", "foreground")
    }
    told: dict[str, Any] = {"first": attempt(writers["background"], 1)}
    filler = Path(folder) / "filler"
    filler.write_bytes(bytes(18 * 2**20))  # room for the half of another
    for step, (how, writer) in enumerate(writers.items(), start=2):
        told[how] = attempt(writer, step)
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(2**12)):  # and now for nothing at all
            pass
    told["nothing left"] = attempt(writers["background"], 4)
    try:
        CheckpointWriter(root, "run")
    except CheckpointWriteError as caught:
        told["start"] = str(caught)
    selection = newest_valid(root)
    assert selection is not None
    told["resumed"] = float(selection.checkpoint.state()["weight"][-1])
    filler.unlink()
    told["room again"] = attempt(writers["background"], 5)
    mount("-o", "remount,ro", folder)
    told["read-only"] = attempt(writers["background"], 6)
    mount("-o", "remount,rw", folder)
    again = CheckpointWriter(root, "run", retention=Retention(keep_last=1))
    told["at the end"] = attempt(again, 7)
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
