"""Two ranks in one process, one after the other, to see whether their collectives agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trackside.distributed import World


class SimulatedWorld(World):
    """The world of several ranks, simulated for one callback in one process.

    Collectives are noted and answered as if all ranks had passed the same.

    Args:
        rank: Whose view it is.
        size: Number of ranks.
        zero: What rank 0 noted, where this is another rank: its broadcasts are answered from there.
    """

    def __init__(self, rank: int, size: int = 2, zero: SimulatedWorld | None = None) -> None:
        super().__init__(rank)
        self.size = size
        self.calls: list[str] = []
        """Collectives with the shapes of what was passed, in order."""
        self._values: list[Any] = []
        self._zero = zero

    def _note(self, name: str, value: Any, detail: str = "") -> Any:
        """Note a collective; the value that rank 0 passed to the same one, if that is known."""
        place = len(self.calls)
        self.calls.append(f"{name}({', '.join(filter(None, [detail, _shape(value)]))})")
        self._values.append(value)
        if self._zero is not None and place < len(self._zero._values):
            return self._zero._values[place]
        return value

    def all_reduce(self, x: Any, op: Any = "mean") -> Any:
        """`x`, or as often as there are ranks where sums are asked for."""
        self._note("all_reduce", x, op)
        return _times(x, self.size if op == "sum" else 1)

    def sum_by_name(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every sum, as often as there are ranks."""
        self._note("sum_by_name", None)  # ranks may have other names
        return {name: value * self.size for name, value in sums.items()}

    def gather(self, x: Any) -> list[Any]:
        """`x` of every rank."""
        self._note("gather", None if isinstance(x, Tensor) else x)
        return [x] * self.size

    def gather_in_order(self, items: Any, indices: Sequence[int]) -> Any:
        """The items in the order of their indices."""
        self._note("gather_in_order", None)
        order = sorted({index: place for place, index in enumerate(indices)}.items())
        places = [place for _, place in order]
        return items[places] if isinstance(items, Tensor) else [items[place] for place in places]

    def broadcast(self, x: Any, source: int = 0) -> Any:
        """The value that rank 0 passed."""
        answer = self._note("broadcast", None, f"from {source}")
        if self._zero is None:
            self._values[-1] = x
            return x
        return x if answer is None and isinstance(x, Tensor) else answer

    def barrier(self) -> None:
        """Do nothing: no other rank exists."""
        self._note("barrier", None)

    def on_rank_zero(self, fn: Callable[[], Any]) -> Any:
        """The result of `fn` on rank 0, on every rank."""
        if self.rank == 0:
            value = fn()
            self._note("on_rank_zero", None)
            self._values[-1] = value
            return value
        return self._note("on_rank_zero", None)

    def beside(self) -> World:
        """A world of one: files are written by each simulated rank for itself."""
        return World(device=self.device)


def _times(x: Any, factor: int) -> Any:
    if isinstance(x, Mapping):
        return {name: _times(value, factor) for name, value in x.items()}
    if isinstance(x, Tensor) and not (x.is_floating_point() or x.is_complex()):
        return x.to(torch.get_default_dtype()) if factor == 1 else x * factor
    return x * factor


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_shape(part)}" for name, part in value.items()) + "}"
    return "" if value is None else type(value).__name__
