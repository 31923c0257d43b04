"""Trainers that come from packages, each training a small network with guests."""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import ignite.engine
import ignite.metrics
import keras
import lightning
import numpy as np
import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from trackside import guests

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
transformers.logging.set_verbosity_error()
FOLDER = Path("run")
EPOCHS, BATCH_SIZE = 3, 4


class Points(Dataset[Any]):
    """22 points and a weighted sum; the model may be made to give NaN."""

    def __init__(self) -> None:
        drawn = torch.randn(22, 4, generator=torch.Generator().manual_seed(0))
        self.inputs, self.targets = drawn, drawn.sum(1, keepdim=True)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"inputs": self.inputs[index], "labels": self.targets[index]}


class Network(nn.Module):
    """One layer, and its loss; `factor` makes the loss NaN where a test wants that."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.factor = factor

    def forward(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The mean loss and the predictions."""
        found = self.layer(inputs)
        return {"loss": self.factor * ((found - labels) ** 2).mean(), "logits": found}


class Module(lightning.LightningModule):  # type: ignore[misc]
    """The network for Lightning."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: Any, number: int) -> Any:
        """The loss."""
        return self.network(**batch)["loss"]

    def validation_step(self, batch: Any, number: int) -> None:
        """Logs the loss of the validation."""
        self.log("val_loss", self.network(**batch)["loss"])

    def configure_optimizers(self) -> Any:
        """Plain descent."""
        return torch.optim.SGD(self.parameters(), lr=0.01)


def in_lightning(*callbacks: Any, factor: float = 1.0, scope: bool = True) -> Any:
    """Train in Lightning; the guest."""
    made = guests.lightning(*callbacks, directory=FOLDER, log_every="2 steps")
    trainer = lightning.Trainer(
        callbacks=[made],
        max_epochs=EPOCHS,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
    )
    with made if scope else nullcontext():
        trainer.fit(
            Module(Network(factor)),
            DataLoader(Points(), BATCH_SIZE, shuffle=True),
            DataLoader(Points(), 8),
        )
    return made.guest


def in_transformers(*callbacks: Any, factor: float = 1.0, scope: bool = True) -> Any:
    """Train in transformers; the guest."""
    arguments = transformers.TrainingArguments(
        "its-own",
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=BATCH_SIZE,
        save_strategy="no",
        eval_strategy="epoch",
        logging_steps=2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        learning_rate=0.01,
    )
    made = guests.transformers(*callbacks, directory=FOLDER, log_every="2 steps")
    with made if scope else nullcontext():
        transformers.Trainer(
            Network(factor),
            arguments,
            train_dataset=Points(),
            eval_dataset=Points(),
            callbacks=[made],
        ).train()
    return made.guest


def in_keras(*callbacks: Any, factor: float = 1.0, scope: bool = True) -> Any:
    """Train in Keras; the guest."""
    points = Points()
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    made = guests.keras(*callbacks, directory=FOLDER, log_every="2 steps")
    targets = np.asarray(points.targets) * factor
    with made if scope else nullcontext():
        model.fit(
            np.asarray(points.inputs),
            targets,
            batch_size=BATCH_SIZE,
            validation_split=0.2,
            epochs=EPOCHS,
            callbacks=[made],
            verbose=0,
        )
    return made.guest


def in_ignite(*callbacks: Any, factor: float = 1.0, scope: bool = True) -> Any:
    """Train in ignite; the guest."""
    network = Network(factor)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)

    def step(engine: Any, batch: Any) -> Any:
        loss = network(**batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    def look(engine: Any, batch: Any) -> Any:
        return network(**batch)["logits"].detach(), batch["labels"]

    trainer, evaluator = ignite.engine.Engine(step), ignite.engine.Engine(look)
    ignite.metrics.Loss(nn.MSELoss()).attach(evaluator, "loss")
    data = DataLoader(Points(), 8)
    completed = ignite.engine.Events.EPOCH_COMPLETED
    trainer.add_event_handler(completed, lambda engine: evaluator.run(data))
    made = guests.ignite(
        trainer,
        *callbacks,
        model=network,
        optimizers=optimizer,
        evaluators={"val": evaluator},
        directory=FOLDER,
        log_every="2 steps",
    )
    with made if scope else nullcontext():
        trainer.run(DataLoader(Points(), BATCH_SIZE, shuffle=True), max_epochs=EPOCHS)
    return made


TRAINERS = {
    "lightning": in_lightning,
    "transformers": in_transformers,
    "keras": in_keras,
    "ignite": in_ignite,
}
