"""A worker of a sweep that tells what it does: each step, and each call of the store."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import TensorDataset

from trackside.lifecycle.hooks import Callback
from trackside.run import Run

TRIALS = 3
FILE = """
seed: 0
data:
  batch_size: 4
  train: {kind: tests.faults.programs.killed_sweep.rows, samples: 12}
  val: {kind: tests.faults.programs.killed_sweep.rows, samples: 4}
model: {kind: torch.nn.Linear, in_features: 2, out_features: 1}
loss: mse
optimizer: {kind: sgd, lr: "log(1e-3, 1e-1)"}
trainer: {epochs: 2}
callbacks:
  checkpoint: {every: 1 step, background: false}
  tells: {kind: tests.faults.programs.killed_sweep.Tells}
"""


@dataclass(frozen=True)
class Options:
    """What a worker does."""

    file: str
    folder: str


line: Any = None
"""To the test."""


def rows(samples: int) -> TensorDataset:
    """Rows whose sum is to be learnt."""
    inputs = torch.randn(samples, 2, generator=torch.Generator().manual_seed(samples))
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


class Tells(Callback[Run]):
    """Tells each step of each trial."""

    def on_step_end(self, run: Run) -> None:
        line.send(["step", run.directory.name, run.progress.steps_completed])


def sweep(options: Options) -> Any:
    """The sweep that the options mean."""
    from trackside.search.sweep import plan

    return plan([options.file], [], Path(options.folder), TRIALS)


def live(options: Options, to_test: Any) -> None:
    """What a worker's process does."""
    global line
    from trackside.search.store import Store
    from trackside.search.working import work

    os.setsid()
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    line = to_test
    for name in ("take", "begin", "record", "is_over"):
        setattr(Store, name, told(getattr(Store, name)))
    try:
        work(sweep(options), lambda text: None)
        line.send(["end"])
    except Exception:
        line.send(["error", traceback.format_exc()])
        raise


def told(method: Any) -> Any:
    """The method of a store, which tells before and after it."""

    @wraps(method)
    def telling(store: Any, first: Any, *others: Any, **more: Any) -> Any:
        trial = getattr(first, "number", None)
        line.send([method.__name__, trial])
        found = method(store, first, *others, **more)
        if method.__name__ == "take" and found is not None:
            trial = found[0].number
        line.send([f"{method.__name__} is over", trial])
        return found

    return telling
