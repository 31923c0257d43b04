"""digits.yaml as a program: bit for bit the same run.

python examples/digits.py
"""

from __future__ import annotations

import torch
from digits_data import SmallCNN, digits
from torch import nn

from trackside import Result, Scheduler, Trainer, accuracy

EPOCHS = 12


def main(epochs: int = EPOCHS) -> tuple[Result, dict[str, float]]:
    """Train and test; returns how it went and the metrics of the test set."""
    trainer = Trainer(
        # A function that makes the model, so that its first weights come from the seed as well.
        lambda: SmallCNN(width=16, dropout=0.3),
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=3e-3),
        scheduler=Scheduler(
            lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs),
            interval="epoch",
        ),
        metrics={"accuracy": accuracy},
        seed=7,
    )
    result = trainer.fit(digits("train"), digits("val"), epochs=epochs, batch_size=64)
    return result, trainer.evaluate(digits("test"), batch_size=64)


if __name__ == "__main__":
    result, metrics = main()
    print(result.outcome)
    print(f"test accuracy {metrics['test/accuracy']:.4f}")
