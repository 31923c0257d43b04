"""Batches of a data set that already comes in batches: other sizes, other samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset

from trackside.data.source import DataSource
from trackside.data.tensors import as_dataset
from trackside.errors import UsageError

Samples = Iterable[int] | Callable[[Dataset[Any]], Iterable[int]]
"""Indices of samples in the order in which they are taken, or a function of the data set."""


def own_batches(
    source: DataSource, batch_size: int | None = None, samples: Samples | None = None
) -> DataLoader[Any]:
    """A loader over the data of `source`, with its workers and its way to collate.

    Args:
        source: The data, as `fit` got it.
        batch_size: Samples per batch; None takes the size that `source` has.
        samples: Which samples, in which order; None takes all in the order of the data.

    Raises:
        UsageError: The data comes in batches already; or its samples have no indices, and some
            are asked for.
    """
    given = source.data
    loader = given if isinstance(given, DataLoader) else None
    data = loader.dataset if loader is not None else as_dataset(source.name, given) or given
    size = batch_size or getattr(source.loader, "batch_size", None)
    if not isinstance(data, Dataset) or size is None:
        raise UsageError(
            f"the data named {source.name!r} comes in batches that can't be made again",
            expected="a Dataset, or a DataLoader with a batch size",
            received=type(given).__name__,
        )
    if samples is not None and isinstance(data, IterableDataset):
        raise UsageError(
            f"samples of the data named {source.name!r} can't be chosen: they have no indices",
            expected="a map-style Dataset",
            received=type(data).__name__,
        )
    chosen: Any = samples(data) if callable(samples) else samples
    return DataLoader(data, size, sampler=chosen, **(_kept(loader) if loader is not None else {}))


def _kept(loader: DataLoader[Any]) -> dict[str, Any]:
    """Options of a loader that don't depend on its batches."""
    names = ("num_workers", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context")
    kept = {name: getattr(loader, name) for name in names}
    if loader.num_workers:
        kept["prefetch_factor"] = loader.prefetch_factor
    if loader.batch_sampler is not None:  # else it collates single samples, not batches
        kept["collate_fn"] = loader.collate_fn
    return kept
