"""Steps with tokens on two ranks, one of which has a bad sample: what all count, and decide."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from claims import claim
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trackside import Output, Settings, Trainer
from trackside.callbacks import LossSpikes
from trackside.run import Run

SAMPLES, SIZE, BAD = 37, 4, 25


class OfTokens(Trainer):
    """Each sample has three tokens."""

    def training_step(self, run: Run, batch: Any) -> Output:
        output = super().training_step(run, batch)
        assert isinstance(output, Output)
        return output._replace(tokens=3 * len(batch[0]), weight=float(len(batch[0])))


if __name__ == "__main__":
    inputs = torch.rand(SAMPLES, 3, generator=torch.Generator().manual_seed(1))
    target = inputs.sum(1, keepdim=True)
    target[BAD] = 1000.0
    watch = LossSpikes("skip", window=6, min_steps=3, threshold=50)
    trainer = OfTokens(
        lambda: nn.Linear(3, 1),
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.01),
        callbacks=[watch],
        accumulate=2,
        seed=2,
        defaults=False,
        settings=Settings(directory=Path(sys.argv[1]), device="cpu"),
    )
    result = trainer.fit(DataLoader(TensorDataset(inputs, target), SIZE), epochs=1)
    claim("skipped", [one.step for one in result.skipped_steps])
    claim("reasons", [one.reason for one in result.skipped_steps])
    claim("losses", watch.state_dict()["losses"])
    claim("weights", [p.flatten().tolist() for p in trainer.models["model"].parameters()])
    claim("tokens", result.history[-1].tokens)
