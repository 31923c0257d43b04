"""A worker process that is gone once the end was asked for: the pass breaks off, for that end."""

from __future__ import annotations

from collections.abc import Iterator

from trackside.data.loaded import LoadedBatch
from trackside.data.source import DataSource
from trackside.lifecycle.signals import ending
from trackside.run import Run


class Pass(Iterator[LoadedBatch]):
    """The batches of a pass, and whether it was broken off."""

    def __init__(self, run: Run, source: DataSource, batches: Iterator[LoadedBatch]) -> None:
        self._run = run
        self._source = source
        self._batches = batches
        self._given_at = -1
        self.broken_off = False
        """Whether the data ended because a worker process was gone."""

    def __next__(self) -> LoadedBatch:
        progress = self._run.progress
        try:
            batch = next(self._batches)
        except (RuntimeError, EOFError, OSError) as error:  # torch's word, or a broken pipe
            number = self._run.requests.signal
            if number is None or not self._source.workers.lost:
                raise
            in_a_step = self._given_at == progress.steps_completed
            if self._run.world.size > 1 or (self._run.evaluation is None and in_a_step):
                # Others wait for this rank, or half of a step is done: there is no safe point.
                raise ending(number) from error
            self.broken_off = True
            raise StopIteration from None
        self._given_at = progress.steps_completed
        return batch


def breaking_off(
    run: Run, source: DataSource, batches: Iterator[LoadedBatch]
) -> Iterator[LoadedBatch]:
    """`batches`; where worker processes load them, as a `Pass`."""
    return Pass(run, source, batches) if source.workers.exist else batches


def is_broken_off(batches: Iterator[LoadedBatch]) -> bool:
    """Whether a pass was broken off."""
    return isinstance(batches, Pass) and batches.broken_off
