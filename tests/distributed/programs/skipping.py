"""A trainer that skips a step for one of two ranks, and asks to stop in the last step."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from claims import claim
from torch import nn
from torch.utils.data import TensorDataset

from trackside import Settings, Trainer
from trackside.callbacks import Checkpoint
from trackside.run import Evaluation, Run

EPOCH_STEPS = 4


class Asks(Trainer):
    """On rank 1 alone: skip the second step, stop in the last step of the epoch."""

    skips_steps = True

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.stopping: list[bool] = []
        self.weights: list[torch.Tensor] = []

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        if run.world.rank == 1 and run.progress.steps_completed == 1:
            run.skip_step("a bad batch")

    def on_optimizer_step_end(self, run: Run, optimizer: Any) -> None:
        if run.progress.steps_completed == 1:
            weights = [p.detach().clone() for p in run.model.parameters()]
            same = all(map(torch.equal, weights, self.weights))
            claim("weights stayed", same)
        self.weights = [p.detach().clone() for p in run.model.parameters()]

    def on_step_end(self, run: Run) -> None:
        if run.world.rank == 1 and run.progress.steps_completed == EPOCH_STEPS:
            run.stop("enough")

    def on_evaluation_start(self, run: Run, evaluation: Evaluation) -> None:
        self.stopping.append(run.stopping)


def trainer(folder: Path) -> Asks:
    return Asks(
        lambda: nn.Linear(2, 1),
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        callbacks=[Checkpoint("1 epoch")],
        defaults=False,
        seed=1,
        settings=Settings(directory=folder, device="cpu"),
    )


def main(folder: Path) -> None:
    inputs = torch.rand(8 * EPOCH_STEPS, 2, generator=torch.Generator().manual_seed(1))
    data = TensorDataset(inputs, inputs.sum(1, keepdim=True))
    first = trainer(folder)
    result = first.fit(data, data, epochs=3, batch_size=8)
    claim("outcome", [result.outcome.status, result.outcome.step, result.outcome.asked_by])
    claim("stopping", first.stopping)
    resumed = trainer(folder).fit(data, data, epochs=2, batch_size=8, resume="auto")
    for name, one in (("first", result), ("resumed", resumed)):
        claim(f"skipped, {name}", [[s.step, s.reason, s.asked_by] for s in one.skipped_steps])
        claim(f"recorded, {name}", one.history.points("train/skipped_steps"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
