"""What the tests of the dialects share: a tiny run, and what a class declares."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from trackside import Result, Settings, Trainer
from trackside.testing import Task, tiny_regression

BATCHES, VALIDATION_BATCHES = 3, 2
"""Of an epoch of the tiny task."""


def trainer_of(
    callbacks: Iterable[Any] | Mapping[str, Any], **options: Any
) -> tuple[Trainer, Task]:
    """A trainer of a tiny task with `callbacks`, and the task."""
    task = options.pop("task", None) or tiny_regression()
    settings = options.pop("settings", None) or Settings(device="cpu", directory="run")
    return task.trainer(callbacks=callbacks, settings=settings, **options), task


def fit(*callbacks: Any, epochs: int = 2, validate: bool = True, **options: Any) -> Result:
    """Train the tiny task with `callbacks`."""
    trainer, task = trainer_of(callbacks, **options)
    return trainer.fit(task.train, task.validation if validate else None, epochs=epochs)


def hooks_of(kind: type) -> set[str]:
    """Names of the public methods that a class declares itself."""
    return {
        name
        for name, value in vars(kind).items()
        if not name.startswith("_") and inspect.isfunction(value)
    }
