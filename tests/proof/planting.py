"""Trainings of digits and of text in which one sample is bad, and the step that meets it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.conftest import REPOSITORY
from tests.proof import programs
from trackside import Program, program

Task = Literal["digits", "text"]
Kind = Literal["label", "outlier", "duplicate", "corrupted"]
KINDS: tuple[Kind, ...] = ("label", "outlier", "duplicate", "corrupted")
STEPS, SIZE, LENGTH = 240, 64, 48


@dataclass(frozen=True)
class Planted:
    """Data with one bad sample."""

    step: int
    """The step that meets it, from 1."""
    index: int
    data: TensorDataset


@cache
def letters() -> tuple[Tensor, int]:
    """Pages of this project as numbers of letters, and how many letters there are."""
    pages = ("training", "data", "clusters", "ranks")
    text = "".join((REPOSITORY / "docs" / f"{page}.md").read_text("utf-8") for page in pages)
    known = sorted(set(text))
    return torch.tensor([known.index(one) for one in text]), len(known)


@cache
def honest(task: Task, steps: int) -> tuple[Tensor, Tensor]:
    """Samples of a single pass, all different."""
    generator = torch.Generator().manual_seed(7)
    count = steps * SIZE
    if task == "digits":
        digits = load_digits()
        inputs = torch.tensor(digits.images, dtype=torch.float32).flatten(1) / 16
        chosen = torch.randint(1500, (count,), generator=generator)
        noise = 0.05 * torch.randn(count, 64, generator=generator)
        return inputs[chosen] + noise, torch.tensor(digits.target)[chosen]
    windows = letters()[0].unfold(0, LENGTH + 1, 1)
    chosen = torch.randint(len(windows), (count,), generator=generator)
    return windows[chosen][:, :-1].clone(), windows[chosen][:, 1:].clone()


def plant(task: Task, kind: Kind, seed: int, steps: int = STEPS) -> Planted:
    """Make one sample of a late step bad, in one of the four ways."""
    draw = torch.Generator().manual_seed(seed)
    inputs, target = (one.clone() for one in honest(task, steps))
    step = int(torch.randint(steps * 3 // 4, steps - 4, (), generator=draw))
    index = step * SIZE + int(torch.randint(SIZE, (), generator=draw))
    other = index - SIZE * (step // 2)
    while torch.equal(target[other], target[index]):
        other -= 1
    if kind == "duplicate":  # another sample's input, with its own label
        inputs[index] = inputs[other]
    elif task == "digits":
        if kind == "label":
            target[index] = (target[index] + 1 + torch.randint(9, (), generator=draw)) % 10
        elif kind == "outlier":
            inputs[index] += 5 * inputs.std() * torch.randn(64, generator=draw)
        else:
            inputs[index] = 16 * torch.rand(64, generator=draw)  # it was not divided
    elif kind == "label":
        target[index] = target[index][torch.randperm(LENGTH, generator=draw)]
    elif kind == "outlier":
        rarest = torch.bincount(letters()[0]).argsort()[:10]
        seen = rarest[torch.randint(10, (LENGTH + 1,), generator=draw)]
        inputs[index], target[index] = seen[:-1], seen[1:]
    else:
        inputs[index] = torch.randint(letters()[1], (LENGTH,), generator=draw)
    return Planted(step + 1, index, TensorDataset(inputs, target))


class Letters(nn.Module):
    """Says the next letter."""

    def __init__(self) -> None:
        super().__init__()
        count = letters()[1]
        self.embedding = nn.Embedding(count, 24)
        self.cells = nn.GRU(24, 48, batch_first=True)
        self.head = nn.Linear(48, count)

    def forward(self, inputs: Tensor) -> Tensor:
        states, _ = self.cells(self.embedding(inputs))
        return self.head(states).transpose(1, 2)


def classifier() -> nn.Module:
    """A small network for digits."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


@program
def planted(directory: str, task: Any, kind: Any, seed: int, steps: int = STEPS) -> Program:
    """A training that meets the bad sample."""
    found = plant(task, kind, seed, steps)
    trainer = programs.made(
        directory,
        model=classifier if task == "digits" else Letters,
        lr=3e-3,
        every="60 steps",
        seed=seed,
        metrics=None,
    )
    loader: DataLoader[Any] = DataLoader(found.data, batch_size=SIZE)
    return Program(trainer, loader, options={"steps": found.step + 3})
