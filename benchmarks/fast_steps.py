"""Steps as compiled graphs, beside the raw loop: on a CPU, in one thread, with the default set.

MLP 64-128-10 with batches of 32, and a small GPT. The variants take turns in one process; compiling
comes before the steps that are timed. How far the weights are from those of the eager run, after as
many steps, stands beside it.

    python -m benchmarks.fast_steps
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.report import Figure, main, quiet, ratios
from benchmarks.step import time_of
from benchmarks.task import Task, batches, build, raw_loop
from trackside import Callback, Run, Settings, Trainer

STEPS, GPT_STEPS, ROUNDS = 300, 20, 9


class Watching(Callback[Run]):
    """Overrides every hook inside of a step, and does nothing there."""

    def on_backward_end(self, run: Run, loss: Tensor) -> None:
        """Nothing."""

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        """Nothing."""

    def on_optimizer_step_start(self, run: Run, optimizer: torch.optim.Optimizer) -> None:
        """Nothing."""


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
        self.blocks = nn.Sequential(*(Block(width, 4) for _ in range(layers)))
        self.answer = nn.Linear(width, words)

    def forward(self, x: Tensor) -> Tensor:
        """From shape (B, T)."""
        answer: Tensor = self.answer(self.blocks(self.words(x) + self.places)).transpose(1, 2)
        return answer


def texts(count: int) -> list[tuple[Tensor, Tensor]]:
    """`count` batches of 4 random texts of 64 characters."""
    generator = torch.Generator().manual_seed(0)
    whole = [torch.randint(0, 64, (4, 65), generator=generator) for _ in range(count)]
    return [(text[:, :-1], text[:, 1:]) for text in whole]


def small_gpt() -> tuple[nn.Module, nn.Module, Callable[[Iterable[nn.Parameter]], Any]]:
    """Model, loss, and optimizer factory, from the same seed each time."""
    torch.manual_seed(0)
    return GPT(), nn.CrossEntropyLoss(), lambda p: torch.optim.AdamW(p, lr=1e-3)


def fitted(
    data: Any, task: Task, way: Any, callbacks: Iterable[Callback[Any]] = ()
) -> list[Tensor]:
    """The weights after these steps with the default callbacks."""
    model, loss_function, optimizer_of = task()
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model,
            loss=loss_function,
            optimizer=optimizer_of,
            callbacks=callbacks,
            settings=Settings(device="cpu", directory=folder, step=way),
        ).fit(data, epochs=1)
    return [p.detach() for p in model.parameters()]


def speed(name: str, task: Task, data: list[Any], budget: float | None) -> list[Figure]:
    """Times of a task's steps over the raw loop's."""
    raw = partial(raw_loop, task=task)
    ways = {
        "eager": quiet(partial(fitted, task=task, way="eager")),
        "compiled": quiet(partial(fitted, task=task, way="compiled")),
        "compiled, hooks in each": quiet(lambda data: fitted(data, task, "compiled", [Watching()])),
    }
    names = {f"{name}, {way}, over a raw loop": loop for way, loop in ways.items()}
    return ratios(
        {figure: partial(time_of, loop, data) for figure, loop in names.items()},
        lambda: time_of(raw, data),
        rounds=ROUNDS,
        budgets={} if budget is None else {f"{name}, compiled, over a raw loop": budget},
    )


def distance(name: str, task: Task, data: list[Any]) -> list[Figure]:
    """How far the weights of a compiled run are from those of an eager one, over their size."""
    eager, compiled = (quiet(fitted)(data, task, way) for way in ("eager", "compiled"))
    apart = sum(float((a - b).square().sum()) for a, b in zip(eager, compiled, strict=True))
    size = sum(float(a.square().sum()) for a in eager)
    what = f"{name}, weights after {len(data)} steps: distance from eager ones"
    return [Figure(what, math.sqrt(apart / size), "of their norm")]


def measure() -> list[Figure]:
    """All figures."""
    torch.set_num_threads(1)
    return [
        *speed("MLP", build, batches(STEPS), 0.6),
        *distance("MLP", build, batches(STEPS)),
        *speed("small GPT", small_gpt, texts(GPT_STEPS), None),
        *distance("small GPT", small_gpt, texts(GPT_STEPS)),
    ]


if __name__ == "__main__":
    main("fast_steps", measure)
