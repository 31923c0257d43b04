"""Random runs for the property tests: small, quick, and of every shape that `fit` takes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import SGD
from torch.utils.data import DataLoader, Dataset

from trackside import Settings, Trainer
from trackside.testing import Recorder

KINDS: list[type[BaseException]] = [
    ValueError,
    KeyboardInterrupt,
    SystemExit,
    StopIteration,
    StopAsyncIteration,
    GeneratorExit,
    asyncio.CancelledError,
    RuntimeError,
    torch.OutOfMemoryError,
    MemoryError,
]


class Stumbling:
    """Counts its calls, and raises `error` at call number `at` (from 1)."""

    def __init__(self, error: BaseException | None = None, at: int = 1) -> None:
        self.error = error
        self.at = at
        self.calls = 0

    def stumble(self) -> None:
        self.calls += 1
        if self.error is not None and self.calls == self.at:
            raise self.error


class Rows(Dataset[Any]):
    """`(inputs, target)` of fixed values; item number `at` of those asked for raises `error`."""

    def __init__(self, length: int, trap: Stumbling | None = None) -> None:
        generator = torch.Generator().manual_seed(length)
        self.inputs = torch.randn(length, 2, generator=generator)
        self.trap = trap or Stumbling()

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.trap.stumble()
        row = self.inputs[index]
        return row, row.sum().reshape(1)


@dataclass(frozen=True)
class Plan:
    """One `fit`: its data, limits and schedules."""

    samples: int = 5
    batch_size: int = 2
    kind: str = "loader"
    """`loader`, `dataset`, `list`, or `stream` (an iterable that tells no length)."""
    accumulate: int = 1
    epochs: int | None = 2
    steps: int | None = None
    evaluate_every: str = "1 epoch"
    evaluations: tuple[int, ...] = (3,)
    """Samples of each evaluation data set."""

    @property
    def batches(self) -> int:
        return -(-self.samples // self.batch_size)

    def data(self, trap: Stumbling | None = None) -> Any:
        rows = Rows(self.samples, trap)
        if self.kind == "dataset":
            return rows
        loader: DataLoader[Any] = DataLoader(rows, batch_size=self.batch_size, shuffle=True)
        if self.kind == "loader":
            return loader
        plain = DataLoader(rows, batch_size=self.batch_size)
        return list(plain) if self.kind == "list" else Stream(plain)

    def validation(self, trap: Stumbling | None = None) -> dict[str, Any]:
        return {
            f"val{number}": DataLoader(Rows(length, trap), batch_size=2)
            for number, length in enumerate(self.evaluations)
        }

    def fit(self, trainer: Trainer, data: Any = None, validation: Any = None) -> Any:
        validation = self.validation() if validation is None else validation
        return trainer.fit(
            self.data() if data is None else data,
            validation,
            epochs=self.epochs,
            steps=self.steps,
            evaluate_every=self.evaluate_every if validation else None,
            batch_size=self.batch_size if self.kind == "dataset" else None,
        )

    def trainer(
        self, model: nn.Module | Callable[[], nn.Module] | None = None, **options: Any
    ) -> Trainer:
        own: dict[str, Any] = {
            "loss": nn.MSELoss(),
            "optimizer": lambda p: SGD(p, lr=0.05, momentum=0.9),
            "defaults": False,
            "seed": 1,
            "accumulate": self.accumulate,
            "settings": Settings(log_every="2 steps", directory="run"),
        }
        return Trainer(model or line(), **{**own, **options})

    def events(self) -> tuple[str, ...]:
        """What a recorder hears when nothing goes wrong."""
        return _events(self)


@functools.cache
def _events(plan: Plan) -> tuple[str, ...]:
    # Test files ask for this while they are collected, in every worker at once, before a test has a
    # folder of its own.
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        plan.fit(plan.trainer(callbacks=[recorder]))
    return tuple(recorder.names)


class Stream:
    """Batches one after another, again in each pass, without a length."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)


def line() -> nn.Linear:
    """The model: two weights and a bias, always the same."""
    model = nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.5, -0.25]]))
        model.bias.zero_()
    return model


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    limits = draw(
        st.sampled_from([(0, None), (1, None), (2, None), (3, None), (None, 0), (None, 7), (2, 3)])
    )
    return Plan(
        samples=draw(st.integers(1, 9)),
        batch_size=draw(st.integers(1, 4)),
        kind=draw(st.sampled_from(["loader", "dataset", "list", "stream"])),
        accumulate=draw(st.integers(1, 4)),
        epochs=limits[0],
        steps=limits[1],
        evaluate_every=draw(
            st.sampled_from(
                ["1 epoch", "2 epochs", "1 step", "3 steps", "4 samples", "2 steps or 1 epoch"]
            )
        ),
        evaluations=draw(st.sampled_from([(), (3,), (1, 4)])),
    )
