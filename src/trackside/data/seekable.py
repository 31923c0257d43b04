"""Loaders that can start mid-epoch; random numbers depend on the batch, not on the worker.

Seeking forward draws the same order again and skips indices: nothing is loaded to be thrown away.
"""

from __future__ import annotations

import copy
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, IterableDataset

from trackside.data.loaded import Origin, Remember, unwrap
from trackside.distributed.sharding import fresh
from trackside.machine import randomness

REMEMBERED = 256
"""Of how many batches indices are remembered: more than workers run ahead, or ranks talk late."""


class ExcludingSampler:
    """A batch sampler that excludes batches by number, and reports the indices of the others.

    Args:
        batches: The batches of indices, all ranks' parts of each taken together.
    """

    def __init__(self, batches: Any) -> None:
        self._batches = batches
        self.left_out: frozenset[int] = frozenset()
        """Numbers, from 0, of the batches that the next pass leaves out."""
        self.begun = (0, 0)
        """Number of a batch, and how many samples at its beginning are done and left out."""
        self.remembers = False
        """Whether to note the indices of the newest batches."""
        self.may_note = False
        """Whether a pass lets itself be asked for it on its way."""
        self.notes = False
        """Whether to do so for the moment."""
        self.first_batch: Any = None
        """The first batch of the newest pass, once it is drawn; None before, and without any."""
        self._held: dict[int, Any] = {}

    @property
    def wrapped(self) -> Any:
        """The sampler that it stands in for."""
        return self._batches

    def second_pass(self) -> ExcludingSampler:
        """Another one over the same batches, that leaves none out."""
        return ExcludingSampler(self._batches)

    def __iter__(self) -> Iterator[Any]:
        batches = self._noting_first()
        self._held.clear()
        if self.left_out or self.remembers or self.may_note or self.begun[1]:
            return self._chosen(batches, self.left_out)
        return batches

    def _noting_first(self) -> Iterator[Any]:
        batches = iter(self._batches)
        self.first_batch = None
        for self.first_batch in batches:
            yield self.first_batch
            break
        yield from batches

    def _chosen(self, batches: Iterator[Any], left_out: frozenset[int]) -> Iterator[Any]:
        for number, batch in enumerate(batches):
            if number in left_out:
                continue
            if self.begun[1] and number == self.begun[0]:
                batch = batch[self.begun[1] :]
            if self.remembers or self.notes:
                self._held[number] = batch
                self._held.pop(number - REMEMBERED, None)
            yield batch

    def remember(self, when: Remember) -> None:
        """Note the indices of batches; see `Remember`."""
        if when == "always":
            self.remembers = True
        elif when == "when asked":
            self.may_note = True
        else:
            self.notes = when == "now"
            if not self.notes and not self.remembers:
                self._held.clear()

    def samples_of(self, number: int) -> tuple[int, ...]:
        """Indices of the samples of a batch of this pass; empty when they aren't remembered."""
        held = self._held.get(number, ())
        indices = (held,) if isinstance(held, int) else held
        try:
            return tuple(int(index) for index in indices)
        except (TypeError, ValueError):  # another kind of sampler: keys, slices
            return ()

    def __len__(self) -> int:
        return len(self._batches)

    def __getattr__(self, name: str) -> Any:
        # Only what isn't found here: batch_size, drop_last, sampler, set_epoch of the original.
        if name.startswith("__") or name == "_batches":
            raise AttributeError(name)
        return getattr(self._batches, name)


class SeekableSampler:
    """Stands in for a loader's sampler: skips what is done, and seeds each batch for workers."""

    def __init__(self, sampler: Any, seeds_batches: bool, seed_offset: int = 0) -> None:
        self._sampler = sampler
        self._seed_offset = seed_offset
        self._seeds_batches = seeds_batches
        self._skip = 0
        self._seed = 0
        self._pass: _Pass | None = None

    @property
    def wrapped(self) -> Any:
        """The sampler that it stands in for; on several ranks, a rank's part of it."""
        return self._sampler

    def second_pass(self, share: Callable[[Any], Any] | None = None) -> SeekableSampler:
        """Another one for the same sampler, at the beginning of a pass.

        Args:
            share: Gives a rank its part of the batches; None gives the same part as here.
        """
        sampler = fresh(self._sampler) if share is None else share(fresh(self.chosen))
        other = SeekableSampler(sampler, self._seeds_batches, self._seed_offset)
        other.seek(0, randomness.derived_seed())
        return other

    def seek(self, skip: int, seed: int) -> None:
        """Let the next pass begin after `skip` batches, with workers seeded by `seed`."""
        self._skip, self._seed = skip, seed + self._seed_offset

    def __iter__(self) -> _Pass:
        # Workers make the loader ask twice: the position stays until the next `seek`.
        seed = self._seed if self._seeds_batches else None
        self._pass = _Pass(iter(self._sampler), self._skip, seed)
        return self._pass

    def draw(self) -> None:
        """Let the sampler draw its order now, where it would do so at the first batch."""
        if self._pass is not None:
            self._pass.look_ahead()

    @property
    def chosen(self) -> ExcludingSampler:
        """The wrapped sampler that excludes batches."""
        part = self._sampler
        return (
            part if isinstance(part, ExcludingSampler) else part.batches
        )  # a rank's part has it inside

    @property
    def origins(self) -> deque[Origin]:
        """Those of the batches handed out in this pass, until the batches are loaded."""
        return deque() if self._pass is None else self._pass.origins

    @property
    def handed_out(self) -> int:
        """Batches of indices that the loader has got in this pass, those skipped included."""
        return 0 if self._pass is None else self._pass.number

    def __len__(self) -> int:
        return len(self._sampler)

    def __getattr__(self, name: str) -> Any:
        # Only what isn't found here: batch_size, drop_last, sampler, set_epoch of the original.
        if name.startswith("__") or name == "_sampler":
            raise AttributeError(name)
        return getattr(self._sampler, name)


class _Pass(Iterator[Any]):
    """Indices of the batches of one pass, from the first one that isn't done yet."""

    def __init__(self, batches: Iterator[Any], skip: int, seed: int | None) -> None:
        self._batches = batches
        self._skip = skip
        self._seed = seed
        self.number = 0
        self._ahead: list[Any] = []
        self.origins: deque[Origin] = deque()

    def look_ahead(self) -> None:
        """Wind forward and fetch the next batch of indices, unless that has happened already."""
        if self.number == 0 and not self._ahead:
            self._ahead.extend(itertools.islice(self, 1))

    def __next__(self) -> Any:
        if self._ahead:
            return self._ahead.pop()
        if self.number < self._skip:
            for _ in itertools.islice(self._batches, self._skip):
                pass
            self.number = self._skip
        batch, origin = unwrap(next(self._batches), self.number)
        if self._seed is not None:
            batch = _Seeded(batch, randomness.mixed(self._seed, self.number))
        self.number += 1
        self.origins.append(origin)
        return batch


class _Seeded(NamedTuple):
    """Indices of one batch, with the seed that its loading begins with."""

    indices: Any
    seed: int


class SeededDataset:
    """A data set whose batches are loaded under their own seed, whichever worker loads them.

    Random augmentation in workers is then a function of the batch, not of how many batches this
    worker has loaded since it started: a resumed run draws the same.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    @property
    def original(self) -> Any:
        """The data set as the user knows it."""
        return self._dataset

    def __getitems__(self, indices: Any) -> list[Any]:
        if isinstance(indices, _Seeded):
            indices, seed = indices
            randomness.seed_worker(seed)
        many = getattr(self._dataset, "__getitems__", None)
        return list(many(indices)) if many is not None else [self._dataset[i] for i in indices]

    def __getitem__(self, index: Any) -> Any:
        return self._dataset[index]

    def __len__(self) -> int:
        return len(self._dataset)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_dataset":
            raise AttributeError(name)
        return getattr(self._dataset, name)


def second(loader: DataLoader[Any], share: Callable[[Any], Any] | None = None) -> DataLoader[Any]:
    """A twin of `loader` whose passes don't touch those of the original.

    Args:
        loader: The original.
        share: Gives a rank its part of the batches; None gives the original's part.
    """
    twin = copy.copy(loader)
    attributes = vars(twin)
    attributes["_iterator"] = None
    attributes["persistent_workers"] = False
    if "next_iter_state" in attributes:  # torchdata's: where the next pass of the original begins
        attributes["next_iter_state"] = None
    for slot in ("batch_sampler", "sampler"):
        if isinstance(attributes.get(slot), SeekableSampler):
            attributes[slot] = attributes[slot].second_pass(share)
    return twin


def seekable_loader(
    loader: DataLoader[Any], share: Callable[[Any], Any] | None = None, seed_offset: int = 0
) -> tuple[DataLoader[Any], SeekableSampler | None]:
    """A twin of `loader` whose passes can begin in the middle; iterable data sets can't.

    Args:
        loader: What to copy.
        share: Gives a rank its part of the batch sampler.
        seed_offset: Makes the seeds of this rank's batches its own.
    """
    if isinstance(loader.dataset, IterableDataset):
        return loader, None
    # A copy, so that subclasses keep what they added; `__dict__`, because DataLoader forbids
    # setting these attributes after construction.
    twin = copy.copy(loader)
    attributes = vars(twin)
    batched = loader.batch_sampler is not None
    workers = loader.num_workers > 0 and batched
    slot = "batch_sampler" if batched else "sampler"
    sampler: Any = ExcludingSampler(attributes[slot])
    if share is not None:
        sampler = share(sampler)
    seekable = SeekableSampler(sampler, seeds_batches=workers, seed_offset=seed_offset)
    attributes[slot] = seekable
    attributes["_iterator"] = None
    if workers:
        attributes["dataset"] = SeededDataset(loader.dataset)
    return twin, seekable


def samplers_of(loader: DataLoader[Any]) -> tuple[object, object]:
    """The batch sampler of a loader, and its sampler."""
    return loader.batch_sampler, loader.sampler
