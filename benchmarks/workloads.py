"""What is trained in the benchmarks: an MLP, a small GPT, and a ResNet-9 on images of 32 x 32."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.task import Task, batches, build

Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Workload:
    """A model, its batches, and as many steps as one turn of a benchmark takes."""

    name: str
    task: Task
    data: Callable[[int], Batches]
    """So many batches, the same each time."""
    steps: int


class Block(nn.Module):
    """One layer of a transformer: attention over what came before, then two linear layers."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """From and to shape (B, T, C)."""
        b, t, c = x.shape
        parts = self.attend(self.first(x)).view(b, t, 3, self.heads, c // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.project(seen.transpose(1, 2).reshape(b, t, c))
        return x + self.wide(self.second(x))


class GPT(nn.Module):
    """A character model; its answer has shape (B, characters, T), as cross entropy wants it."""

    def __init__(self, layers: int = 2, width: int = 64, length: int = 64, words: int = 64) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.places = nn.Parameter(torch.randn(length, width) / math.sqrt(width))
        heads = max(4, width // 64)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.answer = nn.Linear(width, words)

    def forward(self, x: Tensor) -> Tensor:
        """From shape (B, T)."""
        answer: Tensor = self.answer(self.blocks(self.words(x) + self.places)).transpose(1, 2)
        return answer


class Residual(nn.Module):
    """What `inside` makes of the input, added to it."""

    def __init__(self, *inside: nn.Module) -> None:
        super().__init__()
        self.inside = nn.Sequential(*inside)

    def forward(self, x: Tensor) -> Tensor:
        """From and to shape (B, C, H, W)."""
        return x + self.inside(x)


def convolution(before: int, after: int, *, pooled: bool = False) -> nn.Sequential:
    """A convolution of 3 x 3 with its norm; where `pooled`, half the height and width."""
    pool = [nn.MaxPool2d(2)] if pooled else []
    norm = nn.BatchNorm2d(after)
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), norm, nn.ReLU(), *pool)


def resnet9(width: int = 16) -> nn.Sequential:
    """The ResNet of nine layers that is trained on CIFAR-10; `width` is 64 there."""
    w = width
    return nn.Sequential(
        convolution(3, w),
        convolution(w, 2 * w, pooled=True),
        Residual(convolution(2 * w, 2 * w), convolution(2 * w, 2 * w)),
        convolution(2 * w, 4 * w, pooled=True),
        convolution(4 * w, 8 * w, pooled=True),
        Residual(convolution(8 * w, 8 * w), convolution(8 * w, 8 * w)),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(8 * w, 10),
    )


def task_of(make: Callable[[], nn.Module], **options: Any) -> Task:
    """Model, loss, and factory of AdamW, from the same seed each time."""

    def task() -> tuple[nn.Module, nn.Module, Callable[[Iterable[nn.Parameter]], Any]]:
        torch.manual_seed(0)
        return make(), nn.CrossEntropyLoss(), partial(torch.optim.AdamW, lr=1e-3, **options)

    return task


def texts(count: int, size: int = 4, length: int = 64) -> Batches:
    """`count` batches of `size` random texts of `length` characters."""
    generator = torch.Generator().manual_seed(0)
    whole = [torch.randint(0, 64, (size, length + 1), generator=generator) for _ in range(count)]
    return [(text[:, :-1], text[:, 1:]) for text in whole]


def images(count: int, size: int = 8) -> Batches:
    """`count` batches of `size` random images of 3 x 32 x 32 with labels."""
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(size, 3, 32, 32, generator=generator),
            torch.randint(0, 10, (size,), generator=generator),
        )
        for _ in range(count)
    ]


MLP = Workload("MLP", build, batches, 300)
SMALL_GPT = Workload("small GPT", task_of(GPT), texts, 20)
RESNET9 = Workload("ResNet-9", task_of(resnet9), images, 10)
WORKLOADS = (MLP, SMALL_GPT, RESNET9)
