"""Sweeps whose trials all ranks train: one fails on rank 1, one completes, one is pruned.

Arguments: the folder, and whether rank 1 ends by a signal in the first trial (`kill`).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from claims import claim
from torch.utils.data import TensorDataset

from trackside import Callback, Run
from trackside.search.sweep import Sweep, plan
from trackside.search.working import work

FILE = """
seed: 0
data:
  batch_size: 4
  train: {kind: sweeping.rows, samples: 12}
  val: {kind: sweeping.rows, samples: 4}
model: {kind: torch.nn.Linear, in_features: 2, out_features: 1}
loss: mse
optimizer: {kind: sgd, lr: "log(1e-3, 1e-1)"}
trainer: {epochs: 2, device: cpu}
callbacks:
  checkpoint: {every: 1 step, background: false}
  disturbs: {kind: sweeping.Disturbs}
"""


def rows(samples: int) -> TensorDataset:
    inputs = torch.randn(samples, 2, generator=torch.Generator().manual_seed(samples))
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


class Disturbs(Callback[Run]):
    """Fails, or kills, on rank 1 where a file beside the trials says so; tells how runs end."""

    def on_step_end(self, run: Run) -> None:
        here = run.progress.steps_completed == 3 and run.world.rank == 1
        orders = run.directory.parent
        if here and (orders / f"fail {run.directory.name}").exists():
            raise ValueError("rank 1 is broken")
        if here and (orders / f"kill {run.directory.name}").exists():
            (orders / f"kill {run.directory.name}").unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    def on_close(self, run: Run, outcome: Any) -> None:
        rate = run.optimizer.param_groups[0]["lr"]
        if outcome.status.value != "failed":
            ends.append([run.directory.name, rate, outcome.step, outcome.reason])


ends: list[Any] = []
rank = int(os.environ["RANK"])
folder = Path(sys.argv[1])


def asked(name: str, trials: int, prune: bool = False) -> Sweep:
    file = folder / f"{rank}.yaml"
    file.write_text(FILE)
    (folder / name).mkdir(exist_ok=True)
    return plan([str(file)], [], folder / name, trials, prune=prune)


def states(sweep: Sweep) -> list[Any]:
    found = sweep.store().trials() if rank == 0 else []
    return [[one.state, one.parameters, one.why] for one in found]


def say(text: str) -> None:
    said.append(text)


said: list[str] = []
if __name__ == "__main__":
    sys.modules["sweeping"] = sys.modules["__main__"]
    two = asked("two", 2)
    order = "kill" if sys.argv[2:] == ["kill"] and rank == 0 else "fail"
    if rank == 0 and not (two.folder / "study.db").exists():
        (two.folder / f"{order} trial-0000").touch()
    work(two, say)
    claim("ends", ends)
    claim("states", states(two))
    claim("said", len(said))

    ends.clear()
    pruned = asked("pruned", 6, prune=True)
    if rank == 0:  # after five that are complete, one far behind is pruned
        store = pruned.store()
        for number in range(5):
            trial, _ = store.take(number + 1) or (None, None)
            assert trial is not None
            trial.report(-1.0, 1)
            store.record(trial, -1.0, "made up")
    work(pruned, say)
    claim("pruned ends", ends)
    claim("pruned states", [state for state, *_ in states(pruned)])
