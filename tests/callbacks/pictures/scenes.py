"""What pictures are taken of: tiny images of three classes, a model that convolves and attends."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from trackside import Callback
from trackside.machine import randomness
from trackside.run import Run
from trackside.testing import Task
from trackside.tracking.media import Picture


class Looker(nn.Module):
    """Images of shape `(B, 1, 4, 6)` to scores of shape `(B, 3)`; draws such images, too."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Conv2d(1, 8, 2, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.2)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        places = self.drop(self.norm(self.cut(images))).flatten(2).transpose(1, 2)
        seen, _ = self.attend(places, places, places, need_weights=False)
        scores: Tensor = self.head(seen.mean(dim=1))
        return scores

    def sample(self, count: int) -> Tensor:
        return torch.rand(count, 1, 4, 6).to(self.head.bias.device) * self.head.bias.norm()


def tiny_pictures(samples: int = 20, batch_size: int = 8) -> Task:
    """Bright stripes in one of three places, and noise; two validation batches, one ragged."""
    generator = torch.Generator().manual_seed(0)
    total = samples + samples // 2
    target = torch.arange(total) % 3
    images = torch.rand(total, 1, 4, 6, generator=generator) * 0.5
    for index, place in enumerate(target.tolist()):
        images[index, :, :, 2 * place] += 0.5
    with randomness.preserved():
        torch.manual_seed(0)
        model = Looker()
    train = TensorDataset(images[:samples], target[:samples])
    validation = TensorDataset(images[samples:], target[samples:])
    return Task(
        model,
        nn.CrossEntropyLoss(),
        lambda p: torch.optim.AdamW(p, lr=0.01),
        DataLoader(train, batch_size=batch_size, shuffle=True),
        DataLoader(validation, batch_size=batch_size),
    )


class Tracker(Callback):
    """Keeps the pictures that it is shown, and the step of the run when it was."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, Picture]] = []

    def on_picture(self, run: Run, name: str, picture: Picture) -> None:
        self.shown.append((name, picture))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.shown]
