"""Saves checkpoints of a large state until it is killed, at a given moment of the save.

A server: loads what is needed once, then forks a child for every order that it reads (one JSON
object per line), and answers with how the child ended. The child goes on from the newest
checkpoint, saves a few, and kills itself with SIGKILL at the given one of its system calls, or is
killed by the server as soon as it has made so many.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import trackside.checkpoint.storage  # noqa: F401 - once, before the forks
from trackside.checkpoint import CheckpointWriter, Retention, Saving, newest_valid

VALUES = 3_000_000
SAVES = 3
REPORTED = ("write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir")
system_write = os.write


def state_at(step: int) -> dict[str, Any]:
    """What the state is after a step: another one for every step, in every value."""
    weight = torch.arange(VALUES, dtype=torch.float32) + step
    return {"weight": weight, "step": step, "half": weight[:1000].to(torch.bfloat16)}


class Moments:
    """Counts the system calls that change the disk, and ends the process at one of them."""

    def __init__(self, kill_at: int | None, fraction: float, progress: int) -> None:
        self.count = 0
        self._kill_at, self._fraction, self._progress = kill_at, fraction, progress
        for name in REPORTED:
            setattr(os, name, self._counted(name, getattr(os, name)))

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == self._kill_at:
                if name == "write":  # in the middle of it
                    file, data = arguments
                    system_write(file, bytes(data)[: int(len(data) * self._fraction)])
                elif self._fraction > 0.5:  # right after it
                    call(*arguments, **options)
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*arguments, **options)
            system_write(self._progress, b".")
            return result

        return counted


class OverwritingWriter:
    """The control: it has one file, and writes the new state over the old one."""

    def __init__(self, root: Path) -> None:
        self.path = root / "latest.json"

    def load(self) -> int:
        content = json.loads(self.path.read_text()) if self.path.exists() else [0]
        if set(content) != {content[0]}:
            raise ValueError("half old and half new")
        return int(content[0])

    def save(self, step: int) -> None:
        data = json.dumps([step] * 1000).encode()
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT)
        for start in range(0, len(data), 1000):
            os.write(file, data[start : start + 1000])
        os.close(file)


def child(order: dict[str, Any], progress: int) -> None:
    root = Path(order["root"])
    report = os.open(order["report"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def tell(**what: Any) -> None:
        system_write(report, json.dumps(what).encode() + b"\n")

    moments = Moments(order.get("kill_at"), order.get("fraction", 0.0), progress)
    if order.get("control"):
        control = OverwritingWriter(root)
        for step in range(control.load() + 1, control.load() + 1 + SAVES):
            control.save(step)
    else:
        selection = newest_valid(root)
        first = 1 if selection is None else selection.checkpoint.manifest.step + 1
        writer = CheckpointWriter(
            root,
            "run",
            background=order["background"],
            retention=Retention(keep_last=2),
            resumed_from=None if selection is None else selection.checkpoint.path,
        )
        tell(leftovers=[path.name for path in root.glob(".tmp-*")])
        for step in range(first, first + SAVES):
            tell(asked=step)
            writer.save(state_at(step), Saving(step=step))
            tell(accepted=step)
            for saved in writer.poll():
                tell(saved=saved.manifest.step)
        writer.close()
        for saved in writer.poll():
            tell(saved=saved.manifest.step)
    tell(count=moments.count)


def serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            code = 1
            try:
                child(order, writing)
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        seen = 0
        while data := os.read(reading, 1):
            seen += len(data)
            if seen == order.get("kill_after"):
                os.kill(pid, signal.SIGKILL)
        os.close(reading)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"ended": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    serve()
