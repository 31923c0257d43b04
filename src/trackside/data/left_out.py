"""Batches, and samples of batches, that passes over the data leave out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from trackside.data.batches import take
from trackside.data.counting import counted
from trackside.data.loaded import LoadedBatch
from trackside.errors import DataError
from trackside.progress import TrainingBatch


class ExcludedBatches:
    """Excluded batches and samples of each pass, and the positions of the other batches."""

    def __init__(self) -> None:
        self._by_epoch: dict[int, set[int]] = {}
        self._places: dict[int, dict[int, set[int]]] = {}
        self.now: frozenset[int] = frozenset()
        """Numbers of the batches, from 0, that the pass under way leaves out."""
        self._thinned: dict[int, set[int]] = {}

    def add(self, batches: Iterable[TrainingBatch]) -> None:
        """Leave out these too: whole, or the samples at their places."""
        for one in batches:
            if one.places:
                numbers = self._places.setdefault(one.epoch, {})
                numbers.setdefault(one.number, set()).update(one.places)
            else:
                self._by_epoch.setdefault(one.epoch, set()).add(one.number)

    def begin(self, epoch: int) -> None:
        """The pass of that number is the one under way."""
        self.now = frozenset(self._by_epoch.get(epoch, ()))
        self._thinned = self._places.get(epoch, {})

    def place(self, done: int) -> int:
        """Position in the full pass after `done` batches that were not excluded."""
        place = done
        for gap in sorted(self.now):
            place += gap < place
        return place

    def of(self, whole: int) -> int:
        """How many of the `whole` batches of the pass are not left out."""
        return whole - sum(gap < whole for gap in self.now)

    def leave_out(self, batches: Iterator[Any], *, done: int) -> Iterator[Any]:
        """`batches` without the excluded ones; the first is number `done` of the remaining."""
        if not self.now:
            return batches
        numbered = enumerate(batches, start=self.place(done))
        return (batch for number, batch in numbered if number not in self.now)

    def thinned(self, batches: Iterator[LoadedBatch]) -> Iterator[LoadedBatch]:
        """`batches`, some of them without the samples that are left out.

        Raises:
            DataError: Nothing of a batch would be left, or its samples can't be told apart.
        """
        if not self._thinned:
            return batches
        return (self._without(loaded) for loaded in batches)

    def _without(self, loaded: LoadedBatch) -> LoadedBatch:
        origin = loaded.origin
        out = self._thinned.get(self.place(origin.number + 1) - 1)
        if not out:
            return loaded
        size = counted(loaded.data) if origin.samples is None else origin.samples
        kept = [] if size is None else [place for place in range(size) if place not in out]
        if not kept or origin.share is not None:
            raise DataError(
                f"samples of batch {origin.number} of the pass can't be left out",
                expected="a batch of one process, with samples along its first dimension",
                received="a batch that would be empty" if size else "a batch without samples",
                remedy="leave out the batch as a whole",
            )
        return LoadedBatch(take(loaded.data, kept), origin._replace(samples=len(kept)))
