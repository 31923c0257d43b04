"""Fast path for tensors in memory: a batch is an index into whole tensors, not a collation.

Order, values and draws from the generators are those of the ordinary loader; a test holds the two
together. Beginning a pass in its middle costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)
from torch.utils.data._utils.collate import collate_tensor_fn, default_collate_fn_map

from trackside.data.loaded import LoadedBatch, Remember, unwrap
from trackside.errors import DataError


class TensorMapping(Dataset[dict[str, Tensor]]):
    """Tensors by name, of one length: a sample is a mapping of their rows.

    Args:
        tensors: By name, each of shape `(N, ...)`.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: tensor[index] for name, tensor in self.tensors.items()}


def as_dataset(name: str, data: object) -> Dataset[Any] | None:
    """A data set made of `data`, where that is arrays; None where it is something else.

    Args:
        name: Name of the data, for messages.
        data: A mapping of tensors or arrays by name, or a tuple of NumPy arrays or of tensors; all
            of them with samples along the first dimension.

    Raises:
        DataError: Their lengths differ; or a tuple of tensors may as well be one of batches.
    """
    if isinstance(data, Mapping) and data and all(_is_array(v) for v in data.values()):
        tensors = {str(key): torch.as_tensor(value) for key, value in data.items()}
        _check_lengths(name, list(tensors.values()))
        return TensorMapping(tensors)
    if isinstance(data, tuple) and data and all(isinstance(part, np.ndarray) for part in data):
        parts = [torch.as_tensor(part) for part in data]
        _check_lengths(name, parts)
        return TensorDataset(*parts)
    if isinstance(data, tuple) and len(data) > 1 and all(map(_is_array, data)):
        return _of_columns(name, data)
    return None


def _of_columns(name: str, data: tuple[Tensor, ...]) -> TensorDataset | None:
    """A data set of tensors that are inputs, targets, ...; None where they are batches."""
    rows = {tuple(part.shape[1:]) for part in data}
    if len(rows) == 1 and len({len(part) for part in data}) > 1:
        return None  # batches of the same kind, one of them ragged
    if len(rows) == 1:
        raise DataError(
            f"the data named {name!r} may be inputs and targets, or batches of inputs",
            received=f"a tuple of {len(data)} tensors of one shape, {tuple(data[0].shape)}",
            remedy="inputs and targets: `TensorDataset(x, y)`; batches: a list of them",
        )
    _check_lengths(name, list(data))
    return TensorDataset(*data)


def _is_array(value: object) -> bool:
    return isinstance(value, (Tensor, np.ndarray)) and value.ndim > 0


def _check_lengths(name: str, tensors: list[Tensor]) -> None:
    lengths = {len(tensor) for tensor in tensors}
    if len(lengths) > 1:
        raise DataError(
            f"the arrays of the data named {name!r} differ in length",
            expected="as many rows in each",
            received=", ".join(str(len(tensor)) for tensor in tensors),
        )


def fits(loader: DataLoader[Any]) -> bool:
    """Whether it is proven that `loader` only cuts batches out of tensors, in order or shuffled.

    Everything that has a say in a batch is looked at: the class of the loader, the data set, its
    tensors, the batch sampler, the sampler below it, what collates. Where one of them is not
    exactly what torch makes for `DataLoader(dataset, batch_size, shuffle, drop_last=...)`, the
    loader itself makes the batches.
    """
    return (
        type(loader) is DataLoader
        and type(loader.dataset) in (TensorDataset, TensorMapping)
        and _are_plain(loader.dataset)
        and type(loader.batch_sampler) is BatchSampler
        # A loader that is given a batch sampler has a sampler of no meaning beside it.
        and loader.batch_sampler.sampler is loader.sampler
        and _takes_all_once(loader.sampler, loader.dataset)
        and loader.num_workers == 0
        and loader.generator is None
        and loader.collate_fn is default_collate
        and _stacks_tensors()
        and not (loader.pin_memory and torch.accelerator.is_available())
    )


def _are_plain(dataset: Any) -> bool:
    """Whether rows of the tensors, cut out together, are what stacking them one by one gives."""
    held = dataset.tensors
    tensors = list(held.values() if isinstance(held, dict) else held)
    return bool(tensors) and all(
        type(tensor) is Tensor
        and tensor.layout is torch.strided
        and tensor.ndim > 0
        and len(tensor) == len(tensors[0])
        and tensor.is_contiguous()
        and not (tensor.requires_grad or tensor.is_quantized or tensor.is_conj() or tensor.is_neg())
        for tensor in tensors
    )


def _takes_all_once(sampler: object, dataset: object) -> bool:
    """Whether `sampler` gives each sample of `dataset` once: in order, or in one random order."""
    if type(sampler) is SequentialSampler:
        return sampler.data_source is dataset
    return (
        type(sampler) is RandomSampler
        and sampler.data_source is dataset
        and not sampler.replacement
        and sampler.generator is None
        and sampler.num_samples == len(sampler.data_source)
    )


def _stacks_tensors() -> bool:
    """Whether `default_collate` does as it was made: its functions by type can be replaced."""
    others = [kind for kind in default_collate_fn_map if kind is not Tensor]
    return default_collate_fn_map.get(Tensor) is collate_tensor_fn and not any(
        issubclass(held, kind) for held in (Tensor, tuple, dict) for kind in others
    )


class TensorLoader:
    """Stands in for a loader over tensors.

    Args:
        loader: One that `fits`.
        share: Gives a rank its part of the batches: of `range`s of places in the order.
    """

    def __init__(self, loader: DataLoader[Any], share: Callable[[Any], Any] | None = None) -> None:
        self._loader = loader
        self._share = share
        self.dataset: Any = loader.dataset
        self.sampler = loader.sampler
        self.batch_sampler: Any = loader.batch_sampler
        self._skip = 0
        self._pass: _Pass | None = None
        self._pass_size = self.batch_size
        self.left_out: frozenset[int] = frozenset()
        """Numbers, from 0, of the batches that the next pass leaves out."""
        self.begun = (0, 0)
        """Number of a batch, and how many samples at its beginning are done and left out."""
        self.remembers = False
        """Not needed: the order tells which samples a batch held."""

    def __len__(self) -> int:
        return len(self._loader)

    @property
    def batch_size(self) -> int:
        """Samples per batch; it is the batch sampler's, where it may be changed between passes."""
        size: int = self.batch_sampler.batch_size
        return size

    @property
    def chosen(self) -> TensorLoader:
        """The sampler that excludes batches: itself."""
        return self

    def remember(self, when: Remember) -> None:
        """Do nothing: the order of a pass is known as a whole."""

    def samples_of(self, number: int) -> tuple[int, ...]:
        """Indices of the samples of a batch of this pass."""
        if self._pass is None:
            return ()
        size = self._pass_size
        rows = range(len(self.dataset))[number * size : (number + 1) * size]
        return self._pass.samples_at(rows)

    def second_pass(self, share: Callable[[Any], Any] | None = None) -> TensorLoader:
        """Another one over the same tensors, at the beginning of a pass.

        Args:
            share: Gives a rank its part of the batches; None gives the same part as here.
        """
        return TensorLoader(self._loader, share or self._share)

    def seek(self, skip: int, seed: int) -> None:
        """Let the next pass begin after `skip` batches. There are no workers to seed."""
        self._skip = skip

    def draw(self) -> None:
        """Draw the order now, where it would be drawn at the first batch."""
        if self._pass is not None:
            self._pass.draw()

    @property
    def handed_out(self) -> int:
        """No indices are handed out: nothing loads that could end early."""
        return 0

    def __iter__(self) -> Iterator[Any]:
        return (loaded.data for loaded in self.begin())

    def begin(self) -> Iterator[LoadedBatch]:
        """A pass, each batch with its origin."""
        # What the ordinary loader draws for workers, whether or not it has any.
        torch.empty((), dtype=torch.int64).random_()
        size = self._pass_size = self.batch_size
        whole = len(self._loader) * size if self.batch_sampler.drop_last else len(self.dataset)
        places: Iterable[Any] = _Places(whole, size, self.left_out, self.begun)
        if self._share is not None:
            places = self._share(places)
        shuffled = type(self.sampler) is RandomSampler
        self._pass = _Pass(self.dataset.tensors, places, self._skip, shuffled)
        return self._pass


class _Places:
    """The batches as places in the order: `range(0, 32)`, `range(32, 64)`, ..."""

    def __init__(
        self, samples: int, size: int, left_out: frozenset[int], begun: tuple[int, int]
    ) -> None:
        self._starts = range(0, samples, size)
        self._ends = (*range(size, samples, size), samples)
        self._left_out = left_out
        self._begun = begun

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[range]:
        places = map(range, self._starts, self._ends)
        first, into = self._begun
        if not self._left_out and not into:
            return places
        return (
            place[into:] if into and number == first else place
            for number, place in enumerate(places)
            if number not in self._left_out
        )


class _Pass(Iterator[LoadedBatch]):
    """The batches of one pass, from the first one that isn't done yet."""

    def __init__(
        self,
        tensors: tuple[Tensor, ...] | dict[str, Tensor],
        places: Iterable[Any],
        skip: int,
        shuffled: bool,
    ) -> None:
        self._tensors = tensors
        self._rows = len(tensors[0] if isinstance(tensors, tuple) else next(iter(tensors.values())))
        self._places = islice(places, skip, None)
        self._number = skip
        self._shuffled = shuffled
        self._order: Tensor | None = None

    def draw(self) -> None:
        """Draw the order, as RandomSampler draws it; once."""
        if self._shuffled and self._order is None:
            generator = torch.Generator()
            generator.manual_seed(int(torch.empty((), dtype=torch.int64).random_().item()))
            self._order = torch.randperm(self._rows, generator=generator)

    def samples_at(self, places: range) -> tuple[int, ...]:
        """Samples at these places of the order."""
        if not self._shuffled:
            return tuple(places)
        if self._order is None:
            return ()
        found: list[int] = self._order[places.start : places.stop].tolist()
        return tuple(found)

    def __next__(self) -> LoadedBatch:
        places, origin = unwrap(next(self._places), self._number)
        self._number += 1
        if self._shuffled and self._order is None:
            self.draw()
        return LoadedBatch(self._cut_out(places), origin)

    def _cut_out(self, places: range) -> Any:
        start, end = places.start, places.stop
        tensors, order = self._tensors, self._order
        if order is None:  # a copy: what a callback does to a batch must not reach the data
            if isinstance(tensors, dict):
                return {name: tensor[start:end].clone() for name, tensor in tensors.items()}
            return [tensor[start:end].clone() for tensor in tensors]
        rows = order[start:end]
        if isinstance(tensors, dict):
            return {name: _rows(tensor, rows) for name, tensor in tensors.items()}
        return [_rows(tensor, rows) for tensor in tensors]


def _rows(tensor: Tensor, rows: Tensor) -> Tensor:
    return tensor.index_select(0, rows if tensor.is_cpu else rows.to(tensor.device))
