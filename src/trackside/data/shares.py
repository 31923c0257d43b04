"""The ends of passes over several ranks, so that no rank waits for a batch that does not come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from trackside.data.source import DataSource
from trackside.data.tensors import TensorLoader
from trackside.distributed.sharding import until_one_ends
from trackside.errors import DataError
from trackside.run import Run


def ending_together(
    run: Run, source: DataSource, batches: Iterator[Any], any_rank: Callable[[bool], bool]
) -> Iterator[Any]:
    """The training batches of a pass, which end on all ranks at once; a collective.

    Where each rank has its own iterable of unknown length, ranks agree before
    each batch, and the pass ends with the first that has none.

    Raises:
        DataError: The ranks have data of different known lengths.
    """
    lengths = run.world.gather(source.batches if _knows_its_end(source) else None)
    if None in lengths:
        return until_one_ends(batches, any_rank)
    if len(set(lengths)) > 1:
        raise DataError(
            f"the data named {source.name!r} differs in length between ranks: they would wait for "
            "each other without end",
            expected="equally many batches on every rank",
            received=", ".join(f"{n} on rank {rank}" for rank, n in enumerate(lengths)),
            remedy="give every rank the same data, which Trackside shares out; or an iterable "
            "without a length: the epoch then ends with the first rank's",
        )
    return batches


def _knows_its_end(source: DataSource) -> bool:
    """Whether a pass has exactly `source.batches` batches: the length of an iterable is a guess."""
    loader = source.loader
    if isinstance(loader, DataLoader) and isinstance(loader.dataset, IterableDataset):
        return False
    return source.batches is not None and isinstance(loader, DataLoader | TensorLoader | Sequence)
