"""`trackside ask` while two ranks train: each command is carried out by both, at the same step."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from claims import claim
from torch.utils.data import TensorDataset

from trackside import Callback
from trackside.config import load
from trackside.config.experiment.inbox import ask, read_command
from trackside.run import Run

FILE = """\
seed: 1
data:
  batch_size: 8
  train: {kind: asked.points}
  val: {kind: asked.points}
  test: {kind: asked.points}
model: {kind: Linear, in_features: 2, out_features: 1}
loss: mse_loss
optimizer: {kind: sgd, lr: 0.1}
trainer: {epochs: 40, defaults: false, log_every: 1 step}
callbacks:
  checkpoint: {every: 1000 epochs, at_end: false}
  early_stopping: {monitor: val/loss, patience: 100}
"""
COMMANDS = {
    1: [["evaluate", "test"], ["save"]],
    3: [["set", "optimizer.lr=0.01"], ["set", "early_stopping.patience=70"]],
    5: [["set", "no_such.option=1"]],
    7: [["stop", "good enough"]],
}
"""What is asked in which epoch."""


def points() -> TensorDataset:
    inputs = torch.rand(64, 2, generator=torch.Generator().manual_seed(1))
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


class AsksFromOutside(Callback):
    """Somebody at the machine of rank 0."""

    rank_zero_only = True

    def on_train_epoch_start(self, run: Run) -> None:
        for words in COMMANDS.get(run.progress.epochs_completed, ()):
            ask(run.directory, read_command(words))  # what the command does


def main(folder: Path) -> None:
    (folder / "run.yaml").write_text(FILE)
    experiment = load(folder / "run.yaml")
    trainer = experiment.trainer(folder / "run")
    trainer.callbacks.append(AsksFromOutside())
    result = trainer.fit(**experiment.fit_arguments(experiment.make_data()))

    history = result.history
    outcome = result.outcome
    claim("outcome", [outcome.status, outcome.reason, outcome.step])
    claim("asked by", outcome.asked_by)
    claim("evaluated", [step for step, _ in history.points("test/loss")])
    claim(
        "set", [history.values("set/optimizer.lr"), history.values("set/early_stopping.patience")]
    )
    claim("patience", trainer.callbacks["early_stopping"].patience)
    claim("weights", [p.detach().flatten().tolist() for p in trainer.models["model"].parameters()])
    claim("saved", sorted(path.name for path in (folder / "run/checkpoints").glob("step-*")))
    told: list[dict[str, Any]] = [
        json.loads(path.read_text()) for path in (folder / "run/asked/answered").glob("*.json")
    ]
    claim("answers", sorted([one["command"]["kind"], one["accepted"]] for one in told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
