"""A training whose loop is written by hand, or another trainer's, kept by `trackside.resume`.

Shuffling, augmentation in this process or in workers, accumulation by two, dropout, a ragged last
batch, a scheduler that moves in each step. The same again goes on with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tests.faults.programs.long_run import Tell, digest
from trackside import resume

Host = Literal["by hand", "lightning", "transformers"]
SAMPLES, BATCH_SIZE, ACCUMULATE, SAVE_EVERY = 22, 4, 2, 3


@dataclass(frozen=True)
class KeptOptions:
    """One training that is kept."""

    directory: str
    host: Host = "by hand"
    workers: int = 0
    epochs: int = 6


class Augmented(Dataset[Any]):
    """Samples with noise that is drawn while they are loaded, from two generators."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        noise = 0.1 * torch.randn(4) + 0.01 * float(np.random.rand())
        inputs = torch.linspace(0, index / 10, 4) + noise
        return {"inputs": inputs, "labels": inputs.sum(0, keepdim=True)}


class Network(nn.Module):
    """Two layers and dropout; says its loss, as models of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 1)
        )

    def forward(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The mean loss of a batch, and its predictions."""
        found = self.layers(inputs)
        return {"loss": ((found - labels) ** 2).mean(), "logits": found}


def train(options: KeptOptions, tell: Tell) -> int:
    """Train, or go on; tells each step and the weights at the end."""
    torch.manual_seed(11)
    np.random.seed(11)
    model = Network()
    if options.host == "by hand":
        by_hand(model, options, tell)
    else:
        from tests.faults.programs import kept_hosts

        kept_hosts.TRAINERS[options.host](model, options, tell)
    tell(["end", {name: digest(value.reshape(-1)) for name, value in model.state_dict().items()}])
    return 0


def optimizers(model: nn.Module) -> tuple[torch.optim.Optimizer, Any]:
    """The optimizer, and a scheduler that moves in each step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)


def loader(options: KeptOptions) -> DataLoader[Any]:
    """The training data, shuffled."""
    return DataLoader(
        Augmented(),
        batch_size=BATCH_SIZE,
        shuffle=True,
        num_workers=options.workers,
        multiprocessing_context="fork" if options.workers else None,
    )


def by_hand(model: Network, options: KeptOptions, tell: Tell) -> None:
    """The raw loop, with `resume.keep` around it."""
    optimizer, scheduler = optimizers(model)
    data = loader(options)
    with resume.keep(
        options.directory,
        model=model,
        optimizer=optimizer,
        loader=data,
        every=f"{SAVE_EVERY} steps",
        state={"scheduler": scheduler},
    ) as run:
        for _ in run.epochs(options.epochs):
            for batch in run.batches():
                loss = model(**batch)["loss"] / ACCUMULATE
                loss.backward()
                number = run.progress.epoch_batches_completed
                tell(["batch", run.progress.batches_completed, digest(batch["inputs"])])
                run.batch_done(loss)
                if (number + 1) % ACCUMULATE == 0 or number + 1 == len(data):
                    optimizer.step()
                    optimizer.zero_grad()
                    scheduler.step()
                    run.step_done()
                    tell(["step", run.progress.steps_completed])
