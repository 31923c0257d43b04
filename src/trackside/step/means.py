"""Weighted means that stay where their values were computed, and are read late.

Values are kept as (value, weight) pairs, and folded into sums block by block. On the host the sums
are numbers, which takes a fifth of the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter, mul
from typing import Any

import torch
from torch import Tensor

from trackside.machine.accelerator import exact_dtype

BLOCK = 256
"""Values kept one by one before they are folded into the sums."""


Sums = tuple[float, float] | Tensor
"""Weighted sum and weight: numbers on the host, a tensor of shape `(2,)` on a device."""


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
        self.epoch: Sums | None = None
        """Sums over the epoch."""
        self.recent: Sums | None = None
        """Sums since the last record."""

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

    def shorten(self, waiting: int) -> None:
        """Forget the newest of the values that wait, but for so many."""
        del self._pairs[waiting:]

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
        block: Sums
        if isinstance(values, list) and isinstance(weights, list):
            block = (sum(map(mul, values, weights)), sum(weights))
        else:
            device = _home((values, weights))
            column, weight = (_exact(as_tensor(one), device) for one in (values, weights))
            block = torch.stack(((column * weight).sum(), weight.sum()))
        self.epoch = block if self.epoch is None else _added(self.epoch, block)
        self.recent = block if self.recent is None else _added(self.recent, block)
        self._pairs.clear()
        self._begun.clear()

    def state_dict(self) -> dict[str, Any]:
        """Sums, and the values that aren't folded yet."""
        columns = [as_tensor(_column(items)) for items in zip(*self._pairs, strict=True)]
        values, weights = [_exact(one, one.device).cpu() for one in columns] or (None, None)
        return {
            "values": values,
            "weights": weights,
            "epoch": None if self.epoch is None else as_tensor(self.epoch),
            "recent": None if self.recent is None else as_tensor(self.recent),
        }

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from `state`, on `device`."""
        for name in ("epoch", "recent"):
            sums = state[name]
            setattr(self, name, None if sums is None else _sums_on(device, sums))
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
_is_on_host = attrgetter("is_cpu")


def _home(items: Iterable[object]) -> torch.device:
    """The device on which `items` are added up: that of the first tensor outside the host.

    So numbers, and tensors of any device, may be logged under one name, in any order.
    """
    devices = (item.device for item in items if isinstance(item, Tensor))
    return next((device for device in devices if device.type != "cpu"), _HOST)


def _column(items: Sequence[Tensor | float]) -> list[float] | Tensor:
    """`items` as one column: numbers where all are on the host, else a tensor on `_home`."""
    kinds = set(map(type, items))
    if not any(issubclass(kind, Tensor) for kind in kinds):
        return list(items)  # type: ignore[arg-type]
    if kinds == {Tensor} and all(map(_is_on_host, items)):  # the losses of an epoch
        return list(map(Tensor.item, items))  # type: ignore[arg-type]
    if all(item.is_cpu for item in items if isinstance(item, Tensor)):
        return [item.item() if isinstance(item, Tensor) else item for item in items]
    if len(kinds) == 1:
        try:  # the losses of a block: one call, without a look at each
            return torch.stack(items).reshape(-1)  # type: ignore[arg-type]
        except RuntimeError:  # of different shapes or devices: one by one
            pass
    return _mixed(items, _home(items))


def as_tensor(numbers: Sums | list[float]) -> Tensor:
    """Sums, or a column, as a tensor where they are."""
    if isinstance(numbers, Tensor):
        return numbers
    return torch.tensor(numbers, dtype=torch.float64)


def _added(sums: Sums, block: Sums) -> Sums:
    """Both together, on the device of one of them that isn't the host."""
    if isinstance(sums, tuple) and isinstance(block, tuple):
        return sums[0] + block[0], sums[1] + block[1]
    device = _home((sums, block))
    return _exact(as_tensor(sums), device) + _exact(as_tensor(block), device)


def _sums_on(device: torch.device, sums: Tensor) -> Sums:
    """Sums of a checkpoint, on `device`."""
    if device.type != "cpu":
        return sums.to(device)
    total, weight = sums.tolist()
    return total, weight


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


def read(sums: Mapping[str, Sums], reduce: Reduce | None = None) -> dict[str, float]:
    """Means of these sums, brought to the host together; values that weigh nothing have none.

    Args:
        sums: Of this rank, by name.
        reduce: Sums over all ranks; None: this is the only one.
    """
    if reduce is not None:
        sums = reduce({name: as_tensor(pair) for name, pair in sums.items()})
    return {name: total / weight for name, (total, weight) in _on_host(sums).items() if weight}


def _on_host(sums: Mapping[str, Sums]) -> Mapping[str, tuple[float, float]]:
    """Sums as numbers: all that are on devices in one transfer."""
    if all(isinstance(pair, tuple) for pair in sums.values()):
        return sums  # type: ignore[return-value]
    home = _home(sums.values())
    pairs = torch.stack([_exact(as_tensor(pair), home) for pair in sums.values()])
    return dict(zip(sums, pairs.tolist(), strict=True))
