"""A training with scheduled work of all kinds, which kills itself at a moment inside of it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from tests.callbacks.pictures.scenes import tiny_pictures
from trackside import Settings
from trackside.callbacks import (
    Checkpoint,
    ExportModel,
    PredictionImages,
    SavePredictions,
    SaveWeights,
)
from trackside.callbacks.evaluation import save_predictions
from trackside.callbacks.pictures import gallery
from trackside.callbacks.saving import export_model, save_weights
from trackside.checkpoint import files
from trackside.history import Record
from trackside.outcome import Outcome
from trackside.tracking.media import Picture
from trackside.tracking.tracker import TrackedRun, Tracker

STEPS = 12
WORK: tuple[tuple[ModuleType, str, str], ...] = (
    (gallery, "replace_file", "a picture"),
    (files, "write_file", "a file that has its name only afterwards"),
    (export_model, "write_whole", "an export"),
    (save_weights, "write_weights", "weights"),
    (save_predictions, "write", "predictions"),
)
"""Functions that do scheduled work, in the modules that call them."""


class Moments:
    """Moments inside of scheduled work, counted; at one of them the process is killed."""

    def __init__(self, kill_at: int | None) -> None:
        self.kill_at, self.passed, self.lock = kill_at, 0, threading.Lock()

    def pass_by(self, what: str) -> None:
        with self.lock:
            self.passed += 1
            if self.passed == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.pass_by(f"before {what}")
            result = call(*args, **kwargs)
            self.pass_by(f"after {what}")
            return result

        return wrapped


class Receiver(Tracker):
    """Takes pieces into a file, one line each, which can be asked as a server can."""

    def __init__(self, file: Path, moments: Moments) -> None:
        self.file, self.moments = file, moments

    def open(self, beginning: TrackedRun) -> None:
        self.run_id = self.run_id or "mine"
        if beginning.step == 0:  # killed before its first checkpoint, it begins as another run
            self.file.unlink(missing_ok=True)
        else:
            self.goes_on = True

    def was_sent(self, name: str, step: int) -> bool:
        return any(row[:2] == [step, name] for row in received(self.file))

    def write_metrics(self, values: Mapping[str, float], record: Record, unix_time: float) -> None:
        self.moments.pass_by("before a delivery")
        rows = [[record.step, name, value] for name, value in values.items()]
        with self.file.open("a") as stream:
            stream.write("".join(json.dumps(row) + "\n" for row in rows))
        self.moments.pass_by("after a delivery")

    def write_picture(self, name: str, picture: Picture, step: int) -> None:
        self.moments.pass_by("before the delivery of a picture")
        with self.file.open("a") as stream:
            stream.write(json.dumps([step, name, int(picture.pixels.sum())]) + "\n")

    def close(self, outcome: Outcome) -> None:
        pass


def received(file: Path) -> list[list[Any]]:
    """What the receiver has: step, name and value of each."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines()]


def train(folder: str, kill_at: int | None, line: Any = None) -> int:
    """Train to the end, or go on from where a former life was killed; moments that were passed."""
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    torch.set_num_threads(1)
    moments = Moments(kill_at)
    for module, name, what in WORK:
        setattr(module, name, moments.around(what, getattr(module, name)))
    task, place = tiny_pictures(), Path(folder)
    trainer = task.trainer(
        callbacks=[
            Receiver(place / "received.jsonl", moments),
            PredictionImages("val", every="2 steps", count=4),
            SaveWeights("2 steps", at_end=True, file="weights-{step}.safetensors"),
            SavePredictions("val", "4 steps"),
            ExportModel(every="6 steps", try_first=False, check=False),
            Checkpoint("3 steps", background=False),
        ],
        settings=Settings(directory=place / "run", device="cpu", log_every="1 step"),
    )
    place.mkdir(parents=True, exist_ok=True)
    trainer.fit(task.train, task.validation, steps=STEPS, resume="auto")
    if line is not None:
        line.send(moments.passed)
    return moments.passed
