"""scikit-learn's 1,797 handwritten digits, and a small network that reads them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

Split = Literal["train", "val", "test"]
SIZES: dict[Split, int] = {"train": 1_257, "val": 270, "test": 270}


def digits(split: Split) -> TensorDataset:
    """One split: images of shape `(1, 8, 8)` from 0 to 1, and labels from 0 to 9.

    The splits are always the same, whatever the seed of the run.
    """
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    first = sum(SIZES[name] for name in list(SIZES)[: list(SIZES).index(split)])
    chosen = order[first : first + SIZES[split]]
    inputs = torch.tensor(images[chosen] / 16.0, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return TensorDataset(inputs, torch.tensor(labels[chosen], dtype=torch.int64))


class SmallCNN(nn.Module):
    """Two convolutions and two linear layers.

    Args:
        width: Channels of the first convolution; the second has twice as many.
        dropout: Share of activations dropped before the last layer, from 0 to 1.
    """

    def __init__(self, width: int = 16, dropout: float = 0.3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * width * 16, 128),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(128, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Scores of shape `(B, 10)` for images of shape `(B, 1, 8, 8)`."""
        scores: Tensor = self.layers(images)
        return scores
