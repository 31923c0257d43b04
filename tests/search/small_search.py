"""What the file of a small sweep names: data, a model, and a callback that kills once."""

from __future__ import annotations

import os
import signal

import torch
from torch.utils.data import TensorDataset

from trackside.lifecycle.hooks import Callback
from trackside.run import Run

FILE = """
seed: 0
data:
  batch_size: 4
  train: {kind: small_search.rows, samples: 12}
  val: {kind: small_search.rows, samples: 4}
model: {kind: torch.nn.Linear, in_features: 2, out_features: 1}
loss: mse
optimizer: {kind: sgd, lr: "log(1e-3, 1e-1)"}
trainer: {epochs: 2, defaults: true}
callbacks:
  checkpoint: {every: 1 step, background: false}
  kills: {kind: small_search.Kills}
"""


def rows(samples: int) -> TensorDataset:
    """Rows whose sum is to be learnt."""
    inputs = torch.randn(samples, 2, generator=torch.Generator().manual_seed(samples))
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


class Kills(Callback[Run]):
    """Kills the process in the fourth step of the trial that a file beside the trials names."""

    def on_step_end(self, run: Run) -> None:
        order = run.directory.parent / "kill"
        here = order.exists() and order.read_text() == run.directory.name
        if here and run.progress.steps_completed == 4:
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
