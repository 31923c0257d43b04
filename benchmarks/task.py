"""The task of the benchmarks: MLP 64-128-10, AdamW, batches of 32, and the loop written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """`count` batches of random images-as-vectors with labels."""
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(32, 64, generator=generator),
            torch.randint(0, 10, (32,), generator=generator),
        )
        for _ in range(count)
    ]


def build() -> tuple[nn.Module, nn.Module, Callable[[Iterable[nn.Parameter]], Any]]:
    """Model, loss, and optimizer factory, from the same seed each time."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    return model, nn.CrossEntropyLoss(), lambda p: torch.optim.AdamW(p, lr=1e-3)


Task = Callable[[], tuple[nn.Module, nn.Module, Callable[[Iterable[nn.Parameter]], Any]]]
"""Makes a model, its loss, and its optimizer's factory."""


def raw_loop(data: list[Any], task: Task = build) -> None:
    """The loop that everybody writes by hand."""
    model, loss_function, optimizer_of = task()
    optimizer = optimizer_of(model.parameters())
    model.train()
    for inputs, target in data:
        loss = loss_function(model(inputs), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
