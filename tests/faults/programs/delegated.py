"""Saves a few checkpoints by another process, and goes on from the newest one that is there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trackside.checkpoint import CheckpointWriter, Retention, Saving, newest_valid

VALUES = 6_000_000
SAVES = 3
FILE = "shard-00001-model-00001-of-00001.safetensors"


def state_at(step: int) -> dict[str, Any]:
    """The state after a step: another one for every step, in every value."""
    weight = torch.arange(VALUES, dtype=torch.float32) + step
    return {"weight": weight, "step": step, "half": weight[:1000].to(torch.bfloat16)}


def save(root: Path, tell: Callable[..., None]) -> None:
    """Save; tells what is asked for, accepted and saved, with the process that writes next."""
    selection = newest_valid(root)
    first = 1 if selection is None else selection.checkpoint.manifest.step + 1
    writer = CheckpointWriter(
        root,
        "run",
        writer="process",
        retention=Retention(keep_last=2),
        resumed_from=None if selection is None else selection.checkpoint.path,
    )
    writer.save({"weight": torch.zeros(VALUES)}, Saving(step=first - 1))  # starts the process
    _report(writer, tell)
    for step in range(first, first + SAVES):
        tell(asked=step, process=writer._process.pid)
        writer.save(state_at(step), Saving(step=step))
        tell(accepted=step)
        _report(writer, tell)
    tell(leftovers=[path.name for path in root.glob(".tmp-run.step-*")])
    writer.end()


def _report(writer: CheckpointWriter, tell: Callable[..., None]) -> None:
    writer.close()
    for saved in writer.poll():
        tell(saved=saved.manifest.step, notes=saved.notes)


def live(root: Path, line: Any) -> None:
    """The body of the process that saves."""
    os.setsid()
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115

    def tell(**what: Any) -> None:
        line.send(what)

    save(root, tell)
