"""Small things that the configurations of these tests name by `kind:`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from trackside import Callback, PeriodicCallback, Run, Trainer
from trackside.config.experiment.inbox import ask, read_command
from trackside.errors import ConfigurationError
from trackside.schedule import Schedule


def points(count: int = 8, seed: int = 0) -> TensorDataset:
    """Points of the plane, and whether they lie right of the middle."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 2, generator=generator)
    return TensorDataset(inputs, (inputs[:, 0] > 0).long())


class Net(nn.Module):
    """A linear layer, with dropout.

    Args:
        width: Inputs.
        head: What comes after it.
    """

    def __init__(self, width: int = 2, head: nn.Module | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2)
        self.head = head or nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.dropout(self.linear(inputs)))


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Range:
    """From one number to another."""

    low: float = 0.0
    high: float = 1.0


class Everything:
    """Takes an option of every kind that a file can write down."""

    def __init__(
        self,
        count: int = 1,
        share: float = 0.5,
        word: str = "a",
        flag: bool = False,
        mode: Literal["min", "max"] = "min",
        path: Path | None = None,
        pair: tuple[float, float] = (0.0, 1.0),
        words: Sequence[str] = (),
        by_name: dict[str, int] | None = None,
        color: Color = Color.RED,
        either: int | str = 0,
        every: Schedule | str = "1 epoch",
        limits: Range | None = None,
        module: nn.Module | None = None,
        modules: Sequence[nn.Module] = (),
        function: Callable[[Tensor], Tensor] | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        anything: Any = None,
    ) -> None:
        self.given = {name: value for name, value in locals().items() if name != "self"}


class Sparse(Callback[Run]):
    """A callback without options."""


class Patience(Callback[Run]):
    """Counts.

    Args:
        monitor: Full name of the value.
        patience: Evaluations to wait.
        mode: Which way is better.
    """

    def __init__(
        self, monitor: str, patience: int = 3, mode: Literal["min", "max"] = "min"
    ) -> None:
        if patience < 1:
            raise ConfigurationError(
                f"patience={patience} would stop at once",
                expected="1 or more",
                option="patience",
            )
        self.monitor, self.patience, self.mode = monitor, patience, mode


class Ticker(PeriodicCallback[Run]):
    """Counts how often it is due."""

    def __init__(self, every: Schedule | str = "1 epoch", folder: Path = Path("ticks")) -> None:
        super().__init__(every)
        self.folder = folder
        self.ticks = 0

    def on_due(self, run: Run) -> None:
        self.ticks += 1


class Misspelt(Callback[Run]):
    def on_step_ends(self, run: Run) -> None: ...


class OwnTrainer(Trainer):
    """A trainer with an option of its own."""

    def __init__(self, *, temperature: float, **options: Any) -> None:
        super().__init__(**options)
        self.temperature = temperature


def refuse(reason: str) -> None:
    raise RuntimeError(reason)


NOT_CALLABLE = 3


class Spy(Callback[Run]):
    """Keeps what it sees of the run."""

    def on_fit_start(self, run: Run) -> None:
        self.config = dict(run.config)
        self.data = set(run.data)


class Failing(Callback[Run]):
    def on_step_end(self, run: Run) -> None:
        raise ZeroDivisionError


class Stopping(Callback[Run]):
    def on_step_end(self, run: Run) -> None:
        run.stop("enough")


class Signalling(Callback[Run]):
    """Sends its own process a signal."""

    def __init__(self, number: int) -> None:
        self.number = number

    def on_step_start(self, run: Run) -> None:
        os.kill(os.getpid(), self.number)


class HookedTrainer(Trainer):
    """A trainer that listens itself."""

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None: ...


class Seen(PeriodicCallback[Run]):
    """Notes what happened to any of its kind."""

    events: ClassVar[list[str]] = []

    def on_attach(self, run: Run) -> None:
        self.events.append("attached")

    def on_due(self, run: Run) -> None:
        self.events.append("due")

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        self.events.append("batch")

    def on_evaluation_end(self, run: Run, evaluation: Any) -> None:
        self.events.append("evaluation")

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        super().on_epoch_end(run, metrics)
        self.events.append("epoch")

    def on_checkpoint_saved(self, run: Run, checkpoint: Any) -> None:
        self.events.append("saved")

    def on_checkpoint_load(self, run: Run, state: dict[str, Any]) -> None:
        self.events.append("loaded")

    def on_exception(self, run: Run, error: BaseException) -> None:
        self.events.append("exception")

    def on_close(self, run: Run, outcome: Any) -> None:
        self.events.append("closed")


class FailsIn(Callback[Run]):
    """Fails in a hook of its choice."""

    def __init__(self, hook: str) -> None:
        self.hook = hook

    def _fail(self, hook: str) -> None:
        if hook == self.hook:
            raise ZeroDivisionError(hook)

    def on_checkpoint_save(self, run: Run, state: dict[str, Any]) -> None:
        self._fail("on_checkpoint_save")

    def on_checkpoint_load(self, run: Run, state: dict[str, Any]) -> None:
        self._fail("on_checkpoint_load")

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        self._fail("on_epoch_end")

    def on_evaluation_end(self, run: Run, evaluation: Any) -> None:
        self._fail("on_evaluation_end")

    def on_exception(self, run: Run, error: BaseException) -> None:
        self._fail("on_exception")


class AsksInStep(Callback[Run]):
    """Asks something of its own run before the end of a step, as somebody outside would."""

    def __init__(self, words: list[str], step: int) -> None:
        self.words = words
        self.step = step

    def on_batch_end(self, run: Run, batch: object, output: object) -> None:
        if run.progress.steps_completed == self.step - 1:
            run.directory.mkdir(exist_ok=True)
            ask(run.directory, read_command(self.words))


class Asks(Callback[Run]):
    """Asks something of its own run in the first step of an epoch, as somebody outside would."""

    def __init__(self, words: list[str], at: int) -> None:
        self.words = words
        self.at = at
        self.answer: Path | None = None

    def on_train_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        if self.answer is None and run.progress.epochs_completed == self.at:
            run.directory.mkdir(exist_ok=True)
            self.answer = ask(run.directory, read_command(self.words))
