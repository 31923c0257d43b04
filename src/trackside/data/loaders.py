"""From what a user gives as data to batches, and how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, cast

from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset

from trackside.data.tensors import as_dataset
from trackside.errors import DataError


def loader_of(name: str, data: object, batch_size: int, shuffle: bool) -> Iterable[Any]:
    """The batches of what a user gave as data.

    Args:
        name: Name of the data, for messages.
        data: A `Dataset`, a `DataLoader`, tensors or arrays by name, or any iterable of batches.
        batch_size: Samples per batch, where `data` is neither a loader nor batches.
        shuffle: Whether a map-style `Dataset` is shuffled anew in each pass.

    Raises:
        DataError: It is none of these, or empty.
    """
    data = as_dataset(name, data) or data
    if isinstance(data, IterableDataset):
        return DataLoader(data, batch_size=batch_size)
    if isinstance(data, Dataset) or is_map_style(data):
        if isinstance(data, Sized) and len(data) == 0:
            raise DataError(f"the data set named {name!r} is empty", expected="at least one sample")
        return DataLoader(cast("Dataset[Any]", data), batch_size=batch_size, shuffle=shuffle)
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes, Tensor, Mapping)):
        return data
    raise DataError(
        f"the data named {name!r} can't be passed over",
        expected="a Dataset, a DataLoader, a mapping of tensors, or an iterable of batches",
        received=type(data).__name__,
        remedy="wrap tensors in `torch.utils.data.TensorDataset`"
        if isinstance(data, Tensor)
        else None,
    )


def is_map_style(data: object) -> bool:
    """Whether `data` holds samples by number, as torch's own data sets do, and no batches.

    That is anything with `__len__` and `__getitem__` but loaders, mappings, text and tensors. Lists
    and tuples hold samples where the first entry has a part without dimensions: a number, a text,
    a tensor of shape `()`; otherwise they hold batches.
    """
    if isinstance(data, (DataLoader, Iterator, Mapping, str, bytes, Tensor)):
        return False
    if isinstance(data, (list, tuple)):
        return bool(data) and _is_sample(data[0])
    if hasattr(data, "iloc"):
        raise DataError(
            "a table of columns is neither samples nor batches",
            expected="a data set that gives a sample by its number",
            received=type(data).__name__,
            remedy="give its arrays by name: {'x': table[names].to_numpy(), 'target': ...}",
        )
    return hasattr(data, "__len__") and hasattr(data, "__getitem__")


def _is_sample(entry: object) -> bool:
    parts = list(entry.values()) if isinstance(entry, Mapping) else entry
    if not isinstance(parts, (list, tuple)):
        parts = [parts]
    return any(
        isinstance(part, (bool, int, float, str)) or getattr(part, "shape", None) == ()
        for part in parts
    )


def length_of(loader: object) -> int | None:
    """Batches in a pass, or None when `loader` doesn't tell."""
    try:
        return len(loader)  # type: ignore[arg-type]
    except TypeError:  # no __len__, or a loader over an iterable without one
        return None


def samples_of(loader: object, batches: int | None) -> int | None:
    """Samples in a pass of so many batches, or None when `loader` doesn't tell."""
    if not isinstance(loader, DataLoader) or batches is None:
        return None
    sampler = loader.batch_sampler
    if type(sampler) is not BatchSampler:  # of its own kind: batches of any size
        return None
    return batches * sampler.batch_size if sampler.drop_last else length_of(sampler.sampler)
