"""`OutOfMemory`."""

from __future__ import annotations

import json
import logging
import os
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

import torch

from trackside.callbacks.watching.capsule_files import (
    about_error,
    batch_in,
    frames_of,
    is_within_a_step,
    shortened,
)
from trackside.callbacks.watching.peak_memory import host_peak_bytes
from trackside.callbacks.watching.ways_out import phase_of, ways_out
from trackside.data.batches import describe
from trackside.data.loaded import LoadedBatch
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.machine.accelerator import memory_counters
from trackside.machine.paths import local_path
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.run_folder.inside import new_folder_inside, replace_inside
from trackside.step.memory import bytes_of, is_out_of_memory, kept_bytes

logger = logging.getLogger("trackside")
ENTRIES = 100_000
"""Allocations that torch remembers, the newest ones."""


@final
class OutOfMemory(Callback):
    """Leaves a file about a run that ran out of memory, and says the way out; the error goes on.

    `out-of-memory/step-0000000012/out_of_memory.json` in the run's folder says in which phase it
    happened (forward, backward, update, evaluation, ...), the shapes and bytes of the batch under
    way, the bytes of parameters, gradients, optimizer state and buffers, what torch had allocated
    and reserved on the device, and the traceback. The ways out that fit stand there, and as a note
    on the error. On several ranks each writes its own.

    It costs nothing until then, unless `allocations` are asked for.

    Args:
        allocations: Whether torch notes each allocation on CUDA, with its stack, and writes the
            last hundred thousand beside the file as `allocations.pickle`, which
            <https://pytorch.org/memory_viz> shows. Slows each allocation down.
        folder: Where, in the run's folder.

    Raises:
        ConfigurationError: `allocations` on a device that isn't CUDA.

    Example:
        >>> OutOfMemory()
        OutOfMemory()
    """

    effect = "observes"
    on_error = "warn"
    writes = ("folder",)

    def __init__(self, *, allocations: bool = False, folder: str | Path = "out-of-memory") -> None:
        self.allocations = allocations
        self.folder = str(local_path(folder, "folder"))
        self.written: list[Path] = []
        """Folders of this run."""

    def on_attach(self, run: Run) -> None:
        self.written = []
        if self.allocations:
            if run.device.type != "cuda":
                raise ConfigurationError(
                    "allocations can't be noted on this device",
                    expected="CUDA",
                    received=str(run.device),
                    remedy="leave `allocations` out: the other parts are written on any device",
                    option="allocations",
                )
            torch.cuda.memory._record_memory_history(max_entries=ENTRIES)

    def on_exception(self, run: Run, error: BaseException) -> None:
        if not is_out_of_memory(error):
            return
        frames = frames_of(error)
        phase, step = phase_of(frames), run.progress.steps_completed + is_within_a_step(frames)
        ways = ways_out(run, phase)
        content = {
            "format": 1,
            "phase": phase,
            "step": step,
            "rank": run.world.rank,
            "evaluation": None if run.evaluation is None else run.evaluation.name,
            "batch": _batch(batch_in(frames)),
            "accumulate": run.accumulate,
            "precision": run.precision.name if "precision" in vars(run) else None,
            "bytes": asdict(kept_bytes(run)) if "steps" in vars(run) else None,
            "device": _device(run.device),
            "host_peak_bytes": host_peak_bytes(),
            "ways_out": ways,
            "error": about_error(error),
            "traceback": shortened("".join(traceback.format_exception(error))),
        }
        rank = f"-rank-{run.world.rank}" if run.world.size > 1 else ""
        place = new_folder_inside(run.directory, f"{self.folder}/step-{step:010}{rank}")
        replace_inside(place, "out_of_memory.json", json.dumps(content, indent=1))
        self.written.append(place)
        if self.allocations:
            dump: Callable[[str], None] = torch.cuda.memory._dump_snapshot
            dump(str(place / "allocations.pickle"))
        error.add_note(f"memory ran out in the {phase} of step {step}: {'; or '.join(ways)}")
        logger.warning("memory ran out in the %s; what took it stands in %s", phase, place)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        if self.allocations and run.device.type == "cuda":
            torch.cuda.memory._record_memory_history(enabled=None)


def _batch(loaded: LoadedBatch | None) -> dict[str, Any] | None:
    if loaded is None:
        return None
    return {
        "number": loaded.origin.number,
        "samples": loaded.origin.samples,
        "shapes": describe(loaded.data),
        "bytes": bytes_of(loaded.data),
    }


def _device(device: torch.device) -> dict[str, Any]:
    """The device, and what torch counts there, where it counts."""
    found: dict[str, Any] = {"name": str(device)}
    counters = memory_counters(device)
    if counters is not None:
        found |= {
            "allocated_bytes": counters.memory_allocated(device),
            "reserved_bytes": counters.memory_reserved(device),
            "peak_allocated_bytes": counters.max_memory_allocated(device),
        }
        if hasattr(counters, "mem_get_info"):
            found["free_bytes"], found["total_bytes"] = counters.mem_get_info(device)
        for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
            found |= {name: os.environ[name]} if name in os.environ else {}
    return found
