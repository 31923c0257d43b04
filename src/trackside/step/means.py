"""Weighted means that stay where their values were computed, and are read late.

Values are kept as (value, weight) pairs, and folded into sums block by block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trackside.machine.accelerator import exact_dtype

BLOCK = 256
"""Values kept one by one before they are folded into the sums."""


class Mean:
    """A weighted mean over an epoch and, at the same time, since the last record.

    State keeps the values that aren't folded yet one by one: a checkpoint in the middle of a block
    doesn't change the order of summation, so the figures after a resume are bitwise the same.
    """

    __slots__ = ("_begun", "_pairs", "epoch", "keep", "recent")

    def __init__(self) -> None:
        self._pairs: list[tuple[Tensor | float, Tensor | float]] = []
        self._begun: dict[int, int] = {}
        """Number of steps completed to how many values waited then; of the last two."""
        self.keep = self._pairs.append
        """Add a (value, weight) pair, as `add` does; the caller sees to it that `fold` is called
        now and then."""
        self.epoch: Tensor | None = None
        """(weighted sum, weight) over the epoch, shape `(2,)`."""
        self.recent: Tensor | None = None
        """(weighted sum, weight) since the last record, shape `(2,)`."""

    def add(self, value: Tensor | float, weight: Tensor | float) -> None:
        """Add one value; a tensor has one element and must not carry a gradient."""
        self._pairs.append((value, weight))
        if len(self._pairs) >= BLOCK:
            self.fold()

    def begin_step(self, steps_completed: int) -> None:
        """From here on, values belong to the step that comes after so many others."""
        if steps_completed not in self._begun:
            if len(self._begun) > 1:
                del self._begun[min(self._begun)]
            self._begun[steps_completed] = len(self._pairs)

    def leave_out(
        self, steps_completed: int, *, where: Tensor | None = None, last: int = 0
    ) -> None:
        """Leave out what is not finite among the values of a step that made no update.

        Args:
            steps_completed: How many steps came before that step.
            where: Whether it made none, on the device; None: it did not.
            last: How many of the newest values belong to it where `begin_step` was not called.
        """
        places = [self._begun.get(steps_completed + more) for more in (0, 1)]
        known = [place for place in places if place is not None]
        first = min(known, default=max(len(self._pairs) - last, 0))
        for place in range(first, len(self._pairs)):
            self._pairs[place] = _finite_or_none(*self._pairs[place], where)

    def reset(self) -> None:
        """Forget everything."""
        self._pairs.clear()
        self._begun.clear()
        self.epoch = self.recent = None

    @property
    def waiting(self) -> int:
        """How many values are kept and not folded yet."""
        return len(self._pairs)

    def fold(self) -> None:
        """Add the values kept so far to both sums."""
        if not self._pairs:
            return
        values, weights = map(_column, zip(*self._pairs, strict=True))
        device = _home((values, weights, self.epoch, self.recent))
        column, weight = _exact(values, device), _exact(weights, device)
        block = torch.stack(((column * weight).sum(), weight.sum()))
        self.epoch = block if self.epoch is None else self.epoch.to(device) + block
        self.recent = block if self.recent is None else self.recent.to(device) + block
        self._pairs.clear()
        self._begun.clear()

    def state_dict(self) -> dict[str, Any]:
        """Sums, and the values that aren't folded yet."""
        columns = [_column(items) for items in zip(*self._pairs, strict=True)]
        values, weights = [_exact(one, one.device).cpu() for one in columns] or (None, None)
        return {
            "values": values,
            "weights": weights,
            "epoch": self.epoch,
            "recent": self.recent,
        }

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from `state`, on `device`."""
        for name in ("epoch", "recent"):
            sums = state[name]
            setattr(self, name, None if sums is None else sums.to(device))
        self._pairs.clear()
        self._begun.clear()
        if state["values"] is not None:
            values, weights = (_back(state[key], device) for key in ("values", "weights"))
            self._pairs.extend(zip(values.unbind(), weights.unbind(), strict=True))


def _finite_or_none(
    value: Tensor | float, weight: Tensor | float, where: Tensor | None
) -> tuple[Tensor | float, Tensor | float]:
    """The pair, or one of no weight in its place where the value isn't finite."""
    if where is None:
        return (value, weight) if math.isfinite(value) else (0.0, 0.0)
    if not isinstance(value, Tensor):
        value = _exact(torch.tensor(value, dtype=torch.float64), where.device)
    counts = value.isfinite() | ~where.to(value.device)
    return torch.where(counts, value, 0), torch.where(counts, weight, 0)


_HOST = torch.device("cpu")


def _home(items: Iterable[object]) -> torch.device:
    """The device on which `items` are added up: that of the first tensor outside the host.

    So numbers, and tensors of any device, may be logged under one name, in any order.
    """
    devices = (item.device for item in items if isinstance(item, Tensor))
    return next((device for device in devices if device.type != "cpu"), _HOST)


def _column(items: Sequence[Tensor | float]) -> Tensor:
    """`items` as one column, where they are: of several devices, on that of `_home`."""
    kinds = set(map(type, items))
    if not any(issubclass(kind, Tensor) for kind in kinds):
        return torch.tensor(items, dtype=torch.float64)
    if len(kinds) == 1:
        try:  # the losses of a block: one call, without a look at each
            return torch.stack(items).reshape(-1)  # type: ignore[arg-type]
        except RuntimeError:  # of different shapes or devices: one by one
            pass
    return _mixed(items, _home(items))


def _mixed(items: Sequence[Any], device: torch.device) -> Tensor:
    """A column of numbers and tensors; the numbers go to the device together."""
    numbers = [item for item in items if not isinstance(item, Tensor)]
    moved = iter(_exact(torch.tensor(numbers, dtype=torch.float64), device).unbind())
    return torch.stack(
        [
            _exact(item.detach().reshape(()), device) if isinstance(item, Tensor) else next(moved)
            for item in items
        ]
    )


def _back(column: Tensor, device: torch.device) -> Tensor:
    """A column that comes back as it was kept; in `_exact` where it was kept so."""
    return _exact(column, device) if column.dtype is torch.float64 else column.to(device)


def _exact(column: Tensor, device: torch.device) -> Tensor:
    """`column` on `device`, in double precision (single where the device has no double)."""
    return column.to(device, exact_dtype(device), non_blocking=True)


Reduce = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""Sums by name of this rank to sums by name over all ranks."""


def alone(sums: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The sums of the only rank."""
    return sums


def read(
    sums: Mapping[str, Tensor], reduce: Reduce = alone, *, empty: bool = True
) -> dict[str, float]:
    """Means of (weighted sum, weight) pairs, over all ranks, brought to the host together.

    The mean of values that weigh nothing is nan; without `empty`, there is none.
    """
    sums = reduce(sums)
    if not sums:
        return {}
    home = _home(sums.values())
    pairs = torch.stack([pair.to(home) for pair in sums.values()])
    return {
        name: total / weight if weight else float("nan")
        for name, (total, weight) in zip(sums, pairs.tolist(), strict=True)
        if weight or empty
    }
