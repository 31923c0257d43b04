"""The files of a crash capsule: written one by one, none larger than is said, nothing pickled.

Whatever can't be had after a crash (a batch on a device that is lost, say) is named with the reason
under `missing`, and the rest is written.
"""

from __future__ import annotations

import contextlib
import json
import platform
import sys
import threading
import traceback
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import numpy
import safetensors.torch
import torch

from trackside.checkpoint.splitting import Split, split
from trackside.data.loaded import LoadedBatch
from trackside.errors import printable
from trackside.machine import randomness
from trackside.machine.accelerator import memory_counters
from trackside.run import Run
from trackside.run_folder.inside import replace_inside
from trackside.run_folder.names import CAPSULE, CAPSULE_STACKS, CAPSULE_TENSORS

FORMAT = 1
TEXT_LIMIT_BYTES = 200_000
"""A stack, an error's text: what is longer loses its middle."""
RESERVED_BYTES = 1_000_000
"""Part of the limit that is kept for texts and generators; the rest is for the batch."""
_SHOWN_NOTES = 20
_STEPS = (
    "train_step",
    *(f"{kind}Steps.__call__" for kind in ("Compiled", "Captured", "Halving")),
)
"""Functions of the loop that take a step."""


class CapsuleFiles:
    """Collects the parts of a capsule and writes them into one folder.

    Args:
        run: The run.
        limit_bytes: The most bytes that all files take together.
        keeps_data: Whether the batch is kept.
    """

    def __init__(self, run: Run, limit_bytes: int, *, keeps_data: bool) -> None:
        self._run = run
        self._limit_bytes = limit_bytes
        self._keeps_data = keeps_data
        self._tensors: dict[str, torch.Tensor] = {}
        self.content: dict[str, Any] = {"format": FORMAT}
        self.missing: dict[str, str] = {}

    @contextlib.contextmanager
    def _part(self, name: str) -> Iterator[None]:
        """A part that may fail: the reason then stands in its place."""
        try:
            yield
        except Exception as error:
            self.missing[name] = printable(f"{type(error).__name__}: {error}")[:500]

    def add_batch(self, loaded: LoadedBatch | None) -> None:
        """Add the batch under way, and its place in the pass."""
        if loaded is None:
            self.missing["batch"] = "none was under way"
            return
        with self._part("batch"):
            self.content["batch_number"] = loaded.origin.number
            self.content["batch_samples"] = loaded.origin.samples
            if not self._keeps_data:
                self.missing["batch"] = "left out: data=False"
                return
            parts = split(loaded.data, where="batch")
            size = sum(one.nbytes for one in parts.tensors.values())
            words = len(json.dumps(parts.skeleton))
            if size + words > self._limit_bytes - RESERVED_BYTES:
                self.missing["batch"] = (
                    f"left out: {size + words:,} bytes, and the capsule may have "
                    f"{self._limit_bytes:,}"
                )
                return
            self._keep("batch", parts)

    def add_generators(self) -> None:
        """Add the states of the random generators as they stand."""
        with self._part("random"):
            self._keep("random", split(randomness.capture(), where="random"))

    def _keep(self, name: str, parts: Split) -> None:
        tensors = {
            f"{name}/{key}": tensor.detach().cpu().contiguous().clone()
            for key, tensor in parts.tensors.items()
        }
        self._tensors |= tensors
        self.content[name] = parts.skeleton

    def add_machine(self) -> None:
        """Add versions and memory."""
        self.content["versions"] = {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "trackside": version("trackside"),
            "platform": platform.platform(),
        }
        with self._part("memory"):
            self.content["memory"] = _memory(self._run.device)

    def write(self, folder: Path, stacks: str) -> int:
        """Write all files; return their bytes.

        Raises:
            OSError: They can't be written.
        """
        files: dict[str, bytes] = {CAPSULE_STACKS: shortened(stacks).encode()}
        with self._part("tensors"):
            files[CAPSULE_TENSORS] = safetensors.torch.save(self._tensors)
        self.content["missing"] = self.missing
        self.content["limit_bytes"] = self._limit_bytes
        self.content["size_bytes"] = {name: len(data) for name, data in files.items()}
        files[CAPSULE] = json.dumps(self.content, indent=1).encode()
        for name, data in files.items():
            replace_inside(folder, name, data)
        return sum(map(len, files.values()))


def _memory(device: torch.device) -> dict[str, int]:
    found = {}
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - no such module on Windows

        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found["process_peak_bytes"] = kilobytes * (1 if sys.platform == "darwin" else 1024)
    counters = memory_counters(device)
    if counters is not None:
        found["device_bytes"] = counters.memory_allocated(device)
        found["device_peak_bytes"] = counters.max_memory_allocated(device)
    return found


def shortened(text: str) -> str:
    """The text, without its middle where it is too long."""
    plain = printable_lines(text)
    half = TEXT_LIMIT_BYTES // 8  # a character takes up to four bytes
    if len(plain) <= 2 * half:
        return plain
    return f"{plain[:half]}\n... {len(plain) - 2 * half} characters left out ...\n{plain[-half:]}"


def printable_lines(text: str) -> str:
    """The text with its line breaks, and without anything that a terminal would act on."""
    return "\n".join(map(printable, text.splitlines()))


def about_error(error: BaseException) -> dict[str, Any]:
    """Type, message and notes of an error."""
    return {
        "type": f"{type(error).__module__}.{type(error).__qualname__}",
        "message": shortened(str(error)),
        "notes": [shortened(note) for note in getattr(error, "__notes__", ())][:_SHOWN_NOTES],
    }


def all_stacks(error: BaseException | None) -> str:
    """The error's traceback, and the stack of each thread of this process."""
    parts = [] if error is None else ["".join(traceback.format_exception(error))]
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        lines = "".join(traceback.format_stack(frame))
        parts.append(f"thread {names.get(ident, 'unknown')} ({ident}):\n{lines}")
    return "\n".join(parts)


def frames_of(error: BaseException | None, thread: int | None = None) -> list[FrameType]:
    """Frames, outermost first: those of the error's traceback, or of a thread as it stands."""
    found: list[FrameType] = []
    if error is not None:
        trace = error.__traceback__
        while trace is not None:
            found.append(trace.tb_frame)
            trace = trace.tb_next
        return found
    frame = sys._current_frames().get(thread or threading.get_ident())
    while frame is not None:
        found.insert(0, frame)
        frame = frame.f_back
    return found


def batch_in(frames: list[FrameType]) -> LoadedBatch | None:
    """The innermost batch that the loop has in its hands in these frames."""
    found = None
    for frame in frames:
        if _is_of_the_loop(frame):
            held = (one for one in frame.f_locals.values() if isinstance(one, LoadedBatch))
            found = next(held, found)
    return found


def is_within_a_step(frames: list[FrameType]) -> bool:
    """Whether a step is under way in these frames: it isn't counted yet."""
    return any(frame.f_code.co_qualname in _STEPS and _is_of_the_loop(frame) for frame in frames)


def _is_of_the_loop(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("trackside.loop.")
