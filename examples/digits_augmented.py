"""Handwritten digits, shifted and speckled in each epoch, in mixed precision.

python examples/digits_augmented.py

Only training images are augmented, where they are loaded: by torch's own generators, which a
checkpoint keeps, so that a run that is resumed sees the same shifts. `bf16` runs the network in
half precision and keeps weights, gradients and the optimizer in full.
"""

from __future__ import annotations

import torch
from digits_data import SmallCNN, digits
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import Dataset

from trackside import Result, Trainer, accuracy
from trackside.callbacks import EMA


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Images moved by up to one pixel each way, with a little noise.

    Args:
        data: Pairs of an image of shape `(1, H, W)` from 0 to 1, and its label.
        noise: Standard deviation of the noise, in the images' own unit.
    """

    def __init__(self, data: Dataset[tuple[Tensor, ...]], noise: float = 0.05) -> None:
        self.data = data
        self.noise = noise

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self.data[index]
        down, right = torch.randint(0, 3, (2,)).tolist()
        height, width = image.shape[-2:]
        moved = nn.functional.pad(image, (1, 1, 1, 1))[
            :, down : down + height, right : right + width
        ]
        return (moved + self.noise * torch.randn_like(moved)).clamp(0, 1), label


def main(epochs: int = 15) -> tuple[Result, float]:
    """Train, and evaluate the averaged weights on the test images."""
    trainer = Trainer(
        SmallCNN,
        loss=nn.CrossEntropyLoss(label_smoothing=0.05),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.05),
        scheduler=lambda optimizer: CosineAnnealingLR(optimizer, epochs),
        metrics={"accuracy": accuracy},
        callbacks=[EMA(0.98)],
        precision="bf16",
        seed=0,
    )
    result = trainer.fit(Augmented(digits("train")), digits("val"), epochs=epochs, batch_size=64)
    return result, trainer.evaluate(digits("test"), name="test")["test/accuracy"]


if __name__ == "__main__":
    print(f"test accuracy {main()[1]:.4f}")
