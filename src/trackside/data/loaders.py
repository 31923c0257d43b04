"""From what a user gives as data to batches, and how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset

from trackside.data.map_style import is_map_style
from trackside.data.recognition import plain
from trackside.data.seekable import ExcludingSampler, SeekableSampler
from trackside.data.tensors import TensorLoader, as_dataset
from trackside.distributed.sharding import RankBatches, RankRounds
from trackside.errors import DataError
from trackside.vocabulary.objects import place_of


@dataclass(frozen=True, slots=True)
class Batching:
    """How data is cut into batches that isn't in batches yet."""

    size: int | None = None
    """Samples per batch; None takes 32."""
    drop_last: bool = False
    """Whether a last training batch with fewer samples is left out."""

    @property
    def samples(self) -> int:
        """Samples per batch."""
        return 32 if self.size is None else self.size


def is_cut_here(name: str, data: object) -> bool:
    """Whether `data` comes as samples, which are cut into batches here, and not as batches."""
    data = as_dataset(name, plain(data)) or plain(data)
    return isinstance(data, Dataset) or is_map_style(data)


def loader_of(name: str, data: object, batching: Batching | int, shuffle: bool) -> Iterable[Any]:
    """The batches of what a user gave as data.

    Args:
        name: Name of the data, for messages.
        data: A `Dataset`, a `DataLoader`, tensors or arrays by name, or any iterable of batches.
        batching: How `data` is cut, if it isn't in batches yet; or samples per batch.
        shuffle: Whether a map-style `Dataset` is shuffled again in each pass.

    Raises:
        DataError: It is none of these, or empty.
    """
    _refuse_several(name, data)
    data = as_dataset(name, data) or data
    batching = Batching(batching) if isinstance(batching, int) else batching
    size, drop_last = batching.samples, batching.drop_last
    if isinstance(data, IterableDataset):
        return DataLoader(data, size, drop_last=drop_last)
    if isinstance(data, Dataset) or is_map_style(data):
        if isinstance(data, Sized) and len(data) == 0:
            raise DataError(f"the data set named {name!r} is empty", expected="at least one sample")
        return DataLoader(cast("Dataset[Any]", data), size, shuffle, drop_last=drop_last)
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes, Tensor, Mapping)):
        return data
    raise DataError(
        f"the data named {name!r} can't be passed over",
        expected="a Dataset, a DataLoader, a mapping of tensors, or an iterable of batches",
        received=type(data).__name__,
        remedy="wrap tensors in `torch.utils.data.TensorDataset`"
        if isinstance(data, Tensor)
        else place_of(data),
    )


def _refuse_several(name: str, data: object) -> None:
    """Refuse loaders in a list, which would be passed over as if each was a batch."""
    if isinstance(data, (list, tuple)) and any(isinstance(one, DataLoader) for one in data):
        raise DataError(
            f"the data named {name!r} is a list of loaders",
            expected="one loader",
            received=f"a {type(data).__name__} of {len(data)}",
            remedy="to train: one data set, `torch.utils.data.ConcatDataset`; to validate: several "
            "by name, `{'near': ..., 'far': ...}`",
        )


def length_of(loader: object) -> int | None:
    """Batches in a pass, or None when `loader` doesn't say."""
    try:
        return len(loader)  # type: ignore[arg-type]
    except TypeError:  # no __len__, or a loader over an iterable without one
        return None


def samples_of(loader: object, batches: int | None) -> int | None:
    """Samples in a pass of so many batches, or None when `loader` doesn't say."""
    if not isinstance(loader, DataLoader) or batches is None:
        return None
    sampler = loader.batch_sampler
    if type(sampler) is not BatchSampler:  # of its own kind: batches of any size
        return None
    return batches * sampler.batch_size if sampler.drop_last else length_of(sampler.sampler)


def batch_size_of(loader: object) -> int | None:
    """Samples per batch of all ranks together; None where batches differ, or nobody knows."""
    if isinstance(loader, TensorLoader):
        return loader.batch_size
    batches: Any = getattr(loader, "batch_sampler", None)
    while not isinstance(batches, BatchSampler):
        if isinstance(batches, (RankBatches, RankRounds)):
            batches = batches.batches
        elif isinstance(batches, (ExcludingSampler, SeekableSampler)):
            batches = batches.wrapped
        else:
            break
    if batches is None:
        return loader.batch_size if isinstance(loader, DataLoader) else None
    return batches.batch_size if type(batches) is BatchSampler else None
