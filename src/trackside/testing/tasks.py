"""Tiny tasks: model, data, loss and optimizer that train in milliseconds, always the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader, TensorDataset

from trackside.machine import randomness
from trackside.step.accuracy import accuracy
from trackside.trainer.trainer import Trainer


@dataclass
class Task:
    """Something small to train; `task.trainer(callbacks=[...]).fit(task.train, epochs=1)`."""

    model: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    train: DataLoader[Any]
    """Shuffled; its last batch is ragged."""
    validation: DataLoader[Any]
    """Data in order; its last batch is ragged."""
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def trainer(self, **options: Any) -> Trainer:
        """A seeded trainer of this task without default callbacks; `options` are the trainer's."""
        own: dict[str, Any] = {
            "loss": self.loss,
            "optimizer": self.optimizer,
            "metrics": self.metrics,
            "defaults": False,
            "seed": 0,
        }
        return Trainer(self.model, **{**own, **options})

    @property
    def weights(self) -> Tensor:
        """A copy of all parameters and buffers in one vector, to compare bit by bit."""
        state = self.model.state_dict().values()
        return torch.cat([tensor.detach().double().flatten() for tensor in state])


def tiny_regression(samples: int = 10, batch_size: int = 4, seed: int = 0) -> Task:
    """A linear model of two features that learns a weighted sum.

    Args:
        samples: Samples of the training data; half as many are for validation.
        batch_size: Samples of a batch; the last one has what is left.
        seed: Of data and weights; the program's own generators are left alone.

    Example:
        >>> task = tiny_regression()
        >>> task.trainer().fit(task.train, task.validation, epochs=2).outcome.status
        <Status.COMPLETED: 'completed'>
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples + max(samples // 2, 1), 2, generator=generator)
    target = inputs @ torch.tensor([[1.0], [-2.0]]) + 0.5
    with _seeded(seed):
        model = nn.Linear(2, 1)
    data = _split(inputs, target, samples, batch_size)
    return Task(model, nn.MSELoss(), lambda p: SGD(p, lr=0.1, momentum=0.9), *data)


def tiny_classification(
    samples: int = 20, batch_size: int = 8, classes: int = 3, seed: int = 0
) -> Task:
    """A small network with dropout and batch norm that separates `classes` clouds of points.

    Args:
        samples: Samples of the training data; half as many are for validation.
        batch_size: Samples of a batch; the last one has what is left.
        classes: Clouds, 2 or more.
        seed: Of data and weights; the program's own generators are left alone.
    """
    generator = torch.Generator().manual_seed(seed)
    total = samples + max(samples // 2, 1)
    target = torch.arange(total) % classes
    centres = torch.randn(classes, 4, generator=generator) * 3
    inputs = centres[target] + torch.randn(total, 4, generator=generator)
    with _seeded(seed):
        model = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, classes)
        )
    data = _split(inputs, target, samples, batch_size)
    adam = torch.optim.AdamW
    return Task(
        model, nn.CrossEntropyLoss(), lambda p: adam(p, lr=0.01), *data, {"accuracy": accuracy}
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with randomness.preserved():
        torch.manual_seed(seed)
        yield


def tiny_rows(samples: int = 6) -> TensorDataset:
    """A data set of two features and their sum, as a file of a configuration can name it."""
    inputs = torch.randn(samples, 2, generator=torch.Generator().manual_seed(0))
    return TensorDataset(inputs, inputs.sum(dim=1, keepdim=True))


def _split(
    inputs: Tensor, target: Tensor, samples: int, batch_size: int
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    train = TensorDataset(inputs[:samples], target[:samples])
    validation = TensorDataset(inputs[samples:], target[samples:])
    return (
        DataLoader(train, batch_size=batch_size, shuffle=True),
        DataLoader(validation, batch_size=batch_size),
    )
