"""`callback_metrics`: the newest value of everything that was logged, as tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from trackside.run import Run


class CallbackMetrics(dict[str, Tensor]):
    """Newest values by name: `val/loss` and `val_loss` alike.

    Args:
        run: Whose records are read.
        aliases: Further names of recorded values, which those who log fill in.
    """

    def __init__(self, run: Run, aliases: Mapping[str, Iterable[str]]) -> None:
        super().__init__()
        self._run, self._aliases = run, aliases
        self.own: set[str] = set()
        """Names that a `LightningModule` logs: no record replaces them, but for its aliases."""
        self._records = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Tensor]:
        """A copy is a plain dict of the values as they are now."""
        return {name: value.clone() for name, value in self.items()}

    def __reduce__(self) -> tuple[type, tuple[dict[str, Tensor]]]:
        return dict, (dict(self),)

    def refreshed(self) -> CallbackMetrics:
        """Itself, with what was recorded since the last time."""
        history = self._run.history
        if len(history) < self._records:  # the run went back to a checkpoint
            self._records = 0
        for record in history.since(self._records):
            self.take(record.values)
        self._records = len(history)
        if self._run.evaluation is not None:
            self.take(self._run.evaluation.metrics)
        return self

    def take(self, values: Mapping[str, Any]) -> None:
        """Keep values under their names, and those without a slash."""
        for name, value in values.items():
            tensor = as_tensor(value)
            for form in {name, name.replace("/", "_")} - self.own:
                self[form] = tensor
            for alias in self._aliases.get(name, ()):
                self[alias] = tensor


def as_tensor(value: Any) -> Tensor:
    """`value` without its gradient, shape `()` for a number."""
    if isinstance(value, Tensor):
        return value.detach()
    return torch.tensor(float(value))
