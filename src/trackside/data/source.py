"""Loaders that know their position.

A `DataSource` passes over one data set. Its position is the number of batches taken and the state
of the generators at the epoch's start: seeking forward draws the same order again and skips
indices, so nothing is loaded to be thrown away.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Literal

from torch.utils.data import DataLoader

from trackside.data.generators import DataGenerators
from trackside.data.left_out import ExcludedBatches
from trackside.data.loaded import LoadedBatch, Origin, Remember, numbered, with_origins
from trackside.data.loaders import Batching, length_of, loader_of
from trackside.data.recognition import check_draws, plain
from trackside.data.seekable import SeekableSampler, samplers_of, second, seekable_loader
from trackside.data.splits import Split
from trackside.data.stateful import Stateful, check_second_pass
from trackside.data.tensors import TensorLoader, fits
from trackside.data.workers import Workers, started
from trackside.distributed.sharding import RankBatches, RankRounds, in_turns
from trackside.errors import DataError
from trackside.machine import randomness
from trackside.progress import TrainingBatch
from trackside.saved import checked

if TYPE_CHECKING:
    from trackside.distributed.world import World

Batch = Any  # see `batches.Batch`


class DataSource:
    """One named data set as batches: its length, its passes, its position.

    Args:
        name: `train`, `val`, or any key.
        data: A `Dataset`, a `DataLoader`, tensors or arrays by name, or any iterable of batches.
        batching: How `data` is cut, if it isn't in batches yet; or samples per batch.
        shuffle: Whether a map-style `Dataset` is shuffled again in each pass.
        world: The ranks that share the data; None for one process.
        training: Each rank gets a part of every batch; otherwise rank r gets every
            `world_size`-th whole batch. Data that has no sampler is shared in evaluations only: in
            training each rank passes over what it was given.

    Raises:
        DataError: Nothing to pass over, or not iterable.
    """

    def __init__(
        self,
        name: str,
        data: object,
        batching: Batching | int,
        *,
        shuffle: bool = False,
        world: World | None = None,
        training: bool = False,
    ) -> None:
        self.name = name
        self._world = world if world is not None and world.size > 1 else None
        self._training = training
        self._rounds: RankRounds[Any] | None = None
        self.limited_to: int | None = None
        self.data = plain(data)
        loader = loader_of(name, self.data, batching, shuffle)
        self.split = Split(name, data, loader, self._world, training=training)
        """Whether each rank has its own data."""
        loader = self.split.loader
        self.batches = self.split.batches
        """Batches in a pass, or None when the data doesn't say. Where each rank has its own: those
        of this rank in training, those of all in an evaluation."""
        self.samples = self.split.samples
        """Samples in a pass over all ranks, or None when the data doesn't say."""
        self._seekable: SeekableSampler | TensorLoader | None = None
        self._aside: SeekableSampler | TensorLoader | None = None
        if isinstance(loader, DataLoader) and not isinstance(loader, Stateful):
            share = self._share if self._is_shared(loader) else None
            if fits(loader):
                loader = self._seekable = TensorLoader(loader, share)
            else:
                offset = self._world.rank if self._world is not None else 0
                loader, self._seekable = seekable_loader(loader, share, offset)
        self.loader: Iterable[Batch] = loader
        self.is_shared_out = self._seekable is not None and self._is_shared(loader)
        """Whether each rank takes its part of what every rank draws."""
        self.compared_batches = False
        """Whether the first batches of training were compared: one word is enough."""
        self.batches_aside = 0
        """Batches of all passes aside so far: they show that something moves."""
        self.workers = Workers(loader)
        self._generators = DataGenerators(loader, self.data)
        self._excluded = ExcludedBatches()
        self._epoch_start: dict[str, Any] | None = None
        if self.batches == 0:
            raise DataError(
                f"the data named {name!r} is empty",
                expected="at least one batch",
                received="a loader of length 0",
                remedy="check the data set's length, and `drop_last` with fewer samples than "
                "one batch",
            )

    def __repr__(self) -> str:
        count, batches = (one or "unknown" for one in (self.samples, self.batches))
        return f"<DataSource {self.name!r}: samples {count}, batches {batches}>"

    def limit(self, batches: int) -> None:
        """Let every pass end after `batches` batches (1 or more), if it isn't over before."""
        self.limited_to = batches
        if self._rounds is not None:
            self._rounds.limit = batches
        if self.batches is not None and batches < self.batches:
            self.batches = batches
            size = getattr(self.loader, "batch_size", None)
            self.samples = None if size is None or self.samples is None else batches * size

    @property
    def sharing(self) -> Literal["shared", "strided", "own"]:
        """How ranks take samples: parts of what all draw; every R-th of one order; each its own."""
        if self._seekable is None:
            return "own"
        if self.split.is_strided:
            return "strided"
        return "own" if self.split.is_split else "shared"

    def leave_out(self, batches: Iterable[TrainingBatch]) -> None:
        """Pass over these batches, or samples of them, from the next `begin` or `resume` on.

        They are neither loaded (where the data can skip) nor counted: a pass has fewer batches.
        """
        self._excluded.add(batches)

    def remember(self, when: Remember = "always") -> None:
        """Note the samples of the newest batches; see `Remember`."""
        if self._seekable is not None:
            self._seekable.chosen.remember(when)

    def identify(self, epoch: int, batches_done: int) -> TrainingBatch:
        """Identity of the batch after `batches_done` others of a pass, as far as known."""
        number = self._excluded.place(batches_done + 1) - 1
        samples = () if self._seekable is None else self._seekable.chosen.samples_of(number)
        return TrainingBatch(epoch, number, samples)

    @property
    def rewinds(self) -> bool:
        """Whether a pass can restart from an earlier position."""
        return isinstance(self.loader, Stateful) or not isinstance(self.loader, Iterator)

    @property
    def batches_of_pass(self) -> int | None:
        """Batches of the pass under way, without those that are left out."""
        if self.batches is None:
            return None
        return min(self.batches, self._excluded.of(length_of(self.loader) or self.batches))

    def begin(self, epoch: int, *, resumable: bool = True) -> Iterator[LoadedBatch]:
        """Start pass number `epoch`, from 0; only one that is `resumable` notes where it began."""
        self._set_epoch(epoch)
        self.workers.start_those_of_former_passes(self.generators_kept)
        if not resumable and (self._world is None or self.split.is_split):
            return self._iterate(skip=0)
        start = {**self._generators.capture(), "workers_persisted": self.workers.persist}
        self._epoch_start = start
        if self._world is None or self.split.is_split:
            return self._iterate(skip=0)
        # All ranks draw the order that rank 0 draws; the others then go on with their own draws.
        own = randomness.capture()
        start["shared"] = self._world.broadcast(start["shared"])
        start["own"] = self._world.broadcast(start["own"])
        self._generators.restore(start)
        batches = self._iterate(skip=0)
        if self._seekable is not None:
            self._seekable.draw()
        if isinstance(self._seekable, SeekableSampler):
            check_draws(self.name, self._seekable.chosen.first_batch, self._world)
        if not self._world.is_global_zero:
            randomness.restore(own)
        return batches

    def _is_shared(self, loader: Any) -> bool:
        """Whether ranks take parts of its batches; a batch of a single index has none."""
        parts = loader.batch_sampler is not None or not self._training
        return self._world is not None and not self.split.is_split and parts

    def _share(self, batches: Any) -> Any:
        """The part of a batch sampler that belongs to this rank."""
        assert self._world is not None  # asked for in a world of several only
        rank, ranks = self._world.rank, self._world.size
        if self._training:
            return RankBatches(batches, rank, ranks)
        self._rounds = RankRounds(batches, rank, ranks)
        self._rounds.limit = self.limited_to
        return self._rounds

    @property
    def rounds(self) -> int | None:
        """Batches of this rank in a pass of an evaluation, or None when the data doesn't say."""
        if self._world is None or self.batches is None:
            return self.batches
        if self.split.is_split:
            return self.split.rounds_of_pass(self.limited_to)
        return -(-self.batches // self._world.size)

    def resume(self, epoch: int, batches_done: int, into: int = 0) -> Iterator[LoadedBatch]:
        """Start in the middle of a pass, after `load_state_dict`.

        The generators are left as the start of the pass leaves them: restore them afterwards.
        """
        self._set_epoch(epoch)
        if self._epoch_start is None:
            raise DataError(f"the position in the data named {self.name!r} is not known")
        if self._epoch_start["workers_persisted"] and not self.workers.persist:
            # Starting workers draws a seed; in the unbroken run they were there already.
            self.workers.start()
        elif self.workers.persist and not self._epoch_start["workers_persisted"]:
            self.workers.forget()  # the run went back: they are started once more
        self._generators.restore(self._epoch_start)
        if self._seekable is not None:
            self._seekable.chosen.begun = (batches_done, into)
        batches = self._iterate(skip=batches_done)
        if self._seekable is not None:
            self._seekable.draw()
        return batches

    @contextmanager
    def aside(
        self, *, remember: bool = False, whole: bool = False, limit: int | None = None
    ) -> Iterator[Iterator[LoadedBatch]]:
        """A pass that leaves no trace: the position and all generators are what they were.

        May be taken while another pass is under way. On several ranks it is a collective, and each
        rank gets its part of the same batches.

        Args:
            remember: Whether `samples_aside` says which samples the newest batches hold.
            whole: Whether ranks take turns with whole batches of training data too. Data that is
                split already, or has no sampler, is each rank's own.
            limit: Batches at most, of all ranks together where they take turns.

        Raises:
            DataError: The data can be passed over once only, or by one pass at a time.
        """
        with self.generators_kept(), randomness.preserved():
            world = None if self.split.is_split else self._world
            if world is not None:
                self._generators.restore(world.broadcast(self._generators.capture()))
            end = min((n for n in (self.limited_to, limit) if n is not None), default=None)
            turns = in_turns(world, end) if whole and world is not None else None
            yield map(self._counted, itertools.islice(self._second_pass(remember, turns), end))

    def _counted(self, batch: LoadedBatch) -> LoadedBatch:
        self.batches_aside += 1
        return batch

    def check_aside(self, remedy: str) -> None:
        """Refuse what `aside` would, before it is needed. Raises `DataError` with the remedy."""
        if not isinstance(self.loader, DataLoader):
            check_second_pass(self.name, self.loader, remedy)

    def samples_aside(self, batches_done: int) -> tuple[int, ...]:
        """Samples of the batch after so many others of the newest pass aside, as far as known."""
        return () if self._aside is None else self._aside.chosen.samples_of(batches_done)

    def _second_pass(
        self, remember: bool, share: Callable[[Any], Any] | None
    ) -> Iterator[LoadedBatch]:
        if isinstance(self.loader, TensorLoader):
            self._aside = tensors = self.loader.second_pass(share)
            tensors.remembers = remember
            return self.split.rounds(tensors.begin(), self.limited_to)
        if isinstance(self.loader, DataLoader):
            twin = second(self.loader, share)
            sampler = next((s for s in samplers_of(twin) if isinstance(s, SeekableSampler)), None)
            if sampler is not None:
                self._aside, sampler.chosen.remembers = sampler, remember
            return self._with_origins(started(twin), sampler)
        check_second_pass(self.name, self.loader)
        return self._with_origins(iter(self.loader), None)

    def _with_origins(
        self, batches: Iterator[Batch], sampler: SeekableSampler | None
    ) -> Iterator[LoadedBatch]:
        """The batches of a pass of a loader, just begun, each with its origin.

        `sampler` is its sampler, where that is ours.
        """
        if sampler is not None:
            return self.split.rounds(with_origins(batches, sampler.origins), self.limited_to)
        if self._world is None or self._training:
            return numbered(batches)
        batches = self.split.by_first_batches(batches)
        if self.split.is_split:
            return self.split.rounds(numbered(batches), self.limited_to)
        rounds = enumerate(self._share(batches))
        return (LoadedBatch(r.batch, Origin.of_round(n, r)) for n, r in rounds)

    def completed(self, batches_done: int, *, stopped: bool) -> bool:
        """Whether a pass came to its end after `batches_done` batches.

        Args:
            batches_done: Batches taken in this pass, over all resumes.
            stopped: Somebody left the pass; else the data itself ended.

        Raises:
            DataError: The data ended without a batch, or before the length that it promised.
        """
        if stopped:
            ends = (self.batches_of_pass, self.limited_to)
            return any(n is not None and batches_done >= n for n in ends)
        self.check_whole(batches_done)
        if batches_done == 0:
            raise DataError(
                f"the data named {self.name!r} gave no batch",
                expected="at least one batch in every pass",
                remedy="this iterator can be passed over once only: give a DataLoader, or limit "
                "the run by `steps`"
                if isinstance(self.loader, Iterator)
                else None,
            )
        return True

    def check_whole(self, batches_done: int) -> None:
        """Refuse a false end of the data, after `batches_done` batches of this pass.

        Raises:
            DataError: The loader ended while it still had indices to load.
        """
        over = self.limited_to is not None and batches_done >= self.limited_to
        if over or not isinstance(self._seekable, SeekableSampler):
            return
        if batches_done >= self._seekable.handed_out:
            return
        raise DataError(
            f"the data named {self.name!r} ended early",
            expected="all batches that its sampler gives"
            + ("" if self.batches is None else f", {self.batches}"),
            received=f"{batches_done} batches",
            remedy="look for a StopIteration raised inside the data set or the collate_fn",
        )

    def generators_kept(self) -> AbstractContextManager[None]:
        """The data's own generators stand afterwards where they stood before."""
        return self._generators.kept()

    def _iterate(self, skip: int) -> Iterator[LoadedBatch]:
        end, batches = self.limited_to, self._excluded.thinned(self._unlimited(skip))
        return batches if end is None else itertools.islice(batches, end - skip)

    def _unlimited(self, skip: int) -> Iterator[LoadedBatch]:
        if self._seekable is not None:
            self._seekable.seek(skip, randomness.derived_seed())
        if isinstance(self._seekable, TensorLoader):
            return self.split.rounds(self._seekable.begin(), self.limited_to)
        iterator = self.workers.start()
        if self._seekable is not None or (self._world is not None and not self._training):
            return self._with_origins(iterator, self._seekable)
        if skip and not isinstance(self.loader, Stateful):
            warnings.warn(
                f"the data named {self.name!r} can't skip: {skip} batches are loaded again and "
                "dropped; a map-style data set, or a loader with `state_dict`, resumes at once",
                stacklevel=2,
            )
            for _ in itertools.islice(iterator, self._excluded.place(skip)):
                pass
        return numbered(self._excluded.leave_out(iterator, done=skip), start=skip)

    def _set_epoch(self, epoch: int) -> None:
        if self._training:
            self._excluded.begin(epoch)
            if self._seekable is not None:
                self._seekable.chosen.left_out = self._excluded.now
                self._seekable.chosen.begun = (0, 0)
        self._generators.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """The position: generators at the start of the pass and now, and the loader's own state."""
        state: dict[str, Any] = {"epoch_start": self._epoch_start, "sharing": self.sharing}
        state["own_generators"] = self._generators.own_states()
        if isinstance(self.loader, Stateful):
            state["loader"] = self.loader.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a position over; `resume` goes on from it."""
        checked(state, epoch_start=dict[str, Any] | None)
        start = state["epoch_start"]
        if start is not None:
            checked(start, workers_persisted=bool, shared=dict[str, Any])
        self._epoch_start, self.workers.resumed = start, start is not None
        self._generators.restore_own(state["own_generators"])
        if isinstance(self.loader, Stateful) and state.get("loader") is not None:
            self.loader.load_state_dict(state["loader"])
