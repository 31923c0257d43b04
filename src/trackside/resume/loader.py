"""A loader that knows its position, to be given to another trainer in the place of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from trackside.data.source import DataSource
from trackside.errors import UsageError
from trackside.machine import randomness
from trackside.saved import checked


class KeptLoader:
    """Gives the batches of a loader, and can go on in the middle of a pass, bitwise.

    The order of samples, augmentation in this process or in workers, and all generators are as in a
    run that was never broken. The moment before a batch is fetched is the safe point of a trainer:
    the step before is over, with all that the trainer does after a step.

    Args:
        data: A `DataLoader`, or any iterable of batches that can be read again.
        between: Called before each fetch of a batch.

    Raises:
        UsageError: The data doesn't say its length: a trainer may then fetch ahead.
    """

    def __init__(self, data: Any, between: Callable[[], None] | None = None) -> None:
        self._source = DataSource("train", data, 1, training=True)
        if self._source.batches is None:
            raise UsageError(
                "the position in data without a length can't be kept for another trainer",
                expected="a loader with `len`: a Dataset, a DataLoader of one, a list of batches",
                received=type(data).__name__,
            )
        self._length = self._source.batches
        self.data = data
        self.between = between
        self._pass: _Pass | None = None
        self._epoch, self._done = 0, 0
        self._resumed: dict[str, Any] | None = None

    def __len__(self) -> int:
        return self._length

    @property
    def dataset(self) -> Any:
        """The data set of the loader, where it has one."""
        return getattr(self.data, "dataset", self.data)

    @property
    def batch_size(self) -> int | None:
        """Samples of a batch, where the loader says it."""
        return getattr(self.data, "batch_size", None)

    @property
    def position(self) -> tuple[int, int]:
        """Number of the pass, from 0, and batches of it that were given."""
        return self._epoch, self._done

    @property
    def is_resumed(self) -> bool:
        """Whether the next pass goes on where a checkpoint stood."""
        return self._resumed is not None

    def __iter__(self) -> Iterator[Any]:
        """A pass; what is left of one, where that was resumed. The last one asked for counts."""
        if self._done and self._resumed is None:  # the pass before was left
            self._epoch, self._done = self._epoch + 1, 0
        self._pass = _Pass(self)
        return self._pass

    def state_dict(self) -> dict[str, Any]:
        """The position, and all generators of this process."""
        if self._resumed is not None:
            return self._resumed
        return {
            "epoch": self._epoch,
            "done": self._done,
            "data": self._source.state_dict() if self._done else None,
            "random": randomness.capture(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there with the next pass that is asked for."""
        checked(state, epoch=int, done=int)
        self._epoch, self._done, self._resumed = state["epoch"], state["done"], state
        if self._done >= self._length:  # the next pass is a new one
            self._epoch, self._done = self._epoch + 1, 0

    def end(self) -> None:
        """End the worker processes."""
        self._source.workers.end()

    def give(self, one: _Pass) -> Any:
        """The next batch of a pass.

        Raises:
            StopIteration: The pass is over, or another was begun.
        """
        if self._pass is not one:
            raise StopIteration
        if self.between is not None and self._done < self._length:
            self.between()
        if one.batches is None:
            one.batches = self._batches()
        given = next(one.batches, None)
        if given is None:
            self._source.check_whole(self._done)
            self._pass, self._epoch, self._done = None, self._epoch + 1, 0
            raise StopIteration
        self._done += 1
        return given.data

    def _batches(self) -> Iterator[Any]:
        """The batches to come of this pass; all generators stand where the first is fetched."""
        resumed, self._resumed = self._resumed, None
        if resumed is None:
            return self._source.begin(self._epoch)
        if self._done:
            self._source.load_state_dict(resumed["data"])
            batches = self._source.resume(self._epoch, self._done)
            randomness.restore(resumed["random"])
            return batches
        randomness.restore(resumed["random"])
        return self._source.begin(self._epoch)


class _Pass(Iterator[Any]):
    """One pass: nothing is drawn before the first batch is asked for."""

    def __init__(self, loader: KeptLoader) -> None:
        self._loader = loader
        self.batches: Iterator[Any] | None = None
        """Where its batches come from, once the first was asked for."""

    def __next__(self) -> Any:
        return self._loader.give(self)
