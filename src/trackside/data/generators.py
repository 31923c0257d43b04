"""The random generators that have a say in a pass: those of the process, and the data's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from trackside.machine import randomness

_PLACES = ("dataset", "sampler", "batch_sampler", "batch_sampler.sampler")


class DataGenerators:
    """The generators of a loader, of what it is made of, and of this process.

    Args:
        loader: Whose passes draw from them.
        data: What the user gave, where that isn't the loader.
    """

    def __init__(self, loader: object, data: object) -> None:
        self._loader = loader
        self._data = data

    def set_epoch(self, epoch: int) -> None:
        """Tell the number of the pass to every part that asks for it."""
        for part in self._parts():
            set_epoch = getattr(part, "set_epoch", None)
            if callable(set_epoch):
                set_epoch(epoch)

    def capture(self) -> dict[str, Any]:
        """The states of all of them."""
        return {"shared": randomness.capture(), "own": self.own_states()}

    def own_states(self) -> list[torch.Tensor]:
        """The states of the data's own."""
        return [generator.get_state() for generator in self._own()]

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `capture` returned."""
        randomness.restore(state["shared"])
        self.restore_own(state["own"])

    def restore_own(self, states: list[torch.Tensor]) -> None:
        """Put back the states of the data's own."""
        for generator, kept in zip(self._own(), states, strict=True):
            generator.set_state(kept)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """The data's own generators stand afterwards where they stood before."""
        own = [(generator, generator.get_state()) for generator in self._own()]
        try:
            yield
        finally:
            for generator, state in own:
                generator.set_state(state)

    def _parts(self) -> Iterator[object]:
        yield self._loader
        yield self._data
        yield from (part for path in _PLACES if (part := _follow(self._loader, path)) is not None)

    def _own(self) -> list[torch.Generator]:
        found: list[torch.Generator] = []
        for part in self._parts():
            generator = getattr(part, "generator", None)
            if isinstance(generator, torch.Generator) and generator not in found:
                found.append(generator)
        return found


def _follow(start: object, path: str) -> object | None:
    for name in path.split("."):
        start = getattr(start, name, None)
    return start
