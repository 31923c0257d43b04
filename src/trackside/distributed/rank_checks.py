"""Checks that ranks still train one model on one set of data: what was noted is compared.

Each rank notes the same things at the same steps: digests of weights, of options of optimizers, of
which parameters want gradients, and of the indices that samplers drew. One digest of all notes
travels in the vector in which ranks agree on requests (`agreement`), so that no rank waits for a
check. Only where it differs are the notes themselves exchanged, once, to name what differs first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

import torch
from torch import Tensor

from trackside.distributed.digests import LIMIT, chained, of_items, of_text
from trackside.errors import DisagreementError

if TYPE_CHECKING:
    from trackside.distributed.world import World

logger = logging.getLogger("trackside")

Policy = Literal["raise", "warn"]
"""A disagreement ends the run, or is logged once for each subject."""

Part = int | str


@dataclass(frozen=True, slots=True)
class Subject:
    """A kind of thing that has to be the same on every rank."""

    name: str
    """In a sentence: "the weights"."""
    remedy: str
    """The usual reasons, and what to do."""


WEIGHTS = Subject(
    "weights",
    "look for code that changes weights on some ranks only (after `if rank == 0`, or by a random "
    "number), for a backward pass that `self.optimize` doesn't make, and for parameters that a "
    "loss doesn't reach: Settings(strategy=DDP(find_unused_parameters=True))",
)
EVALUATED = Subject(
    "model that is evaluated, saved or predicts",
    "put other weights in, such as averages, on every rank (not after `if rank == 0`), and leave "
    "buffers as they are in `on_evaluation_start` and `on_predict_start`: those of rank 0",
)
OPTIONS = Subject(
    "options of the optimizers",
    "change learning rates and other options on every rank at the same step: decide by "
    "`run.progress`, or by a value that all ranks have: `run.world.broadcast(value)`",
)
FLAGS = Subject(
    "parameters that want gradients",
    "freeze and unfreeze on every rank at the same step: by the callback `Unfreeze`, or in "
    "`on_epoch_start`, without a condition on the rank",
)
DATA = Subject(
    "samples",
    "give every rank the same data in the same order: `random_split` with "
    "`torch.Generator().manual_seed(0)`, lists that are sorted, samplers that draw from torch's "
    "generator or from a seed of their own that all ranks share",
)


class Note:
    """The state of one subject at one step, in parts.

    Args:
        subject: What it is about.
        step: Steps completed.
        parts: One value for each part: numbers, texts, or digests on a device, which begin their
            way to the host now.
        name: The name of a part, by its number.
        where: Further words on the place, such as the name of the data.
        is_of_shard: Whether only ranks that hold the same shard have the same.
    """

    __slots__ = ("_arrived", "_parts", "is_of_shard", "name", "step", "subject", "where")

    def __init__(
        self,
        subject: Subject,
        step: int,
        parts: Sequence[Part] | Tensor,
        name: Callable[[int], str],
        where: str = "",
        *,
        is_of_shard: bool = False,
    ) -> None:
        self.is_of_shard = is_of_shard
        self.subject = subject
        self.step = step
        self.where = where
        self.name = name
        self._arrived: torch.Event | None = None
        self._parts: Sequence[Part] | Tensor = parts
        if isinstance(parts, Tensor) and parts.device.type != "cpu":
            pinned = torch.empty(parts.shape, dtype=parts.dtype, pin_memory=True)
            self._parts = pinned.copy_(parts, non_blocking=True)
            self._arrived = torch.Event(parts.device)
            self._arrived.record()

    @property
    def parts(self) -> Sequence[Part]:
        """The value of each part; waits for the device, if they are still on their way."""
        if self._arrived is not None:
            self._arrived.synchronize()
            self._arrived = None
        if isinstance(self._parts, Tensor):
            self._parts = self._parts.tolist()
        return self._parts

    @property
    def digest(self) -> int:
        """One digest of all parts."""
        parts = self.parts
        if self.subject is DATA:
            return of_items(parts)
        return chained(of_text(part) if isinstance(part, str) else part for part in parts)


@final
class RankChecks:
    """Notes of a rank, and their comparison with those of the others.

    Args:
        world: The ranks.
        policy: What becomes of a disagreement.
        shard: Number of the shard that this rank holds, of how many, where other ranks hold the
            same; None where no shard is there twice.
    """

    def __init__(
        self, world: World, policy: Policy = "raise", shard: tuple[int, int] | None = None
    ) -> None:
        self._world = world
        self.shard = shard
        self._policy = policy
        self._told: set[str] = set()
        self._new: list[Note] = []
        self._ready: list[Note] = []
        """Noted an exchange ago: what comes from a device has arrived by now."""
        self._sent: list[Note] = []
        self._waits_for_device = world.device.type != "cpu"

    def note(self, note: Note) -> None:
        """Compare `note` with the others' at one of the next exchanges."""
        if note.subject.name not in self._told:
            self._new.append(note)

    def vector(self, *, now: bool) -> list[int]:
        """The digest of what is to be compared next, to be reduced by the maximum.

        Each digest stands there with both signs, so that the maximum over ranks is the same twice
        where all ranks have the same. Each shard has its own place, which other ranks leave open.

        Args:
            now: Compare everything, also what is still on its way from a device.
        """
        self._sent, self._ready = self._ready, self._new
        self._new = []
        if now or not self._waits_for_device:
            self._sent, self._ready = self._sent + self._ready, []
        digest = _digest(note for note in self._sent if not note.is_of_shard)
        vector = [digest, -digest]
        if self.shard is not None:
            mine, shards = self.shard
            digest = _digest(note for note in self._sent if note.is_of_shard)
            open_place = [-LIMIT, -LIMIT]
            for number in range(shards):
                vector += [digest, -digest] if number == mine else open_place
        return vector

    def compare(self, reduced: Sequence[int]) -> None:
        """Look whether the vectors of all ranks were the same; all ranks have to call.

        Raises:
            DisagreementError: They weren't, and the policy is to raise.
        """
        sent, self._sent = self._sent, []
        if all(highest == -lowest for highest, lowest in _pairs(reduced)):
            return
        error = self._explain(sent)
        if self._policy == "raise":
            raise error
        if self._world.is_global_zero:
            logger.warning("%s", error)

    def compare_now(self, send: Callable[[list[int]], Callable[[], list[int]]]) -> None:
        """Compare all that is noted and not under way, by a separate exchange.

        Args:
            send: Sends a vector off; what it returns waits for the maximum over ranks.

        Raises:
            DisagreementError: See `compare`.
        """
        under_way, self._sent = self._sent, []
        vector = self.vector(now=True)
        self.compare(send(vector)())
        self._sent = under_way

    def _explain(self, sent: Sequence[Note]) -> DisagreementError:
        """The error that names the first difference; a collective."""
        everyone = self._world.gather([self._described(note) for note in sent])
        shortest = min(map(len, everyone))
        differing = ((n, _unlike([of[n] for of in everyone])) for n in range(shortest))
        first, ranks = next(((n, ranks) for n, ranks in differing if ranks), (None, []))
        if first is None:
            return DisagreementError(
                "the ranks don't note the same things",
                received=", ".join(f"{len(notes)} on rank {r}" for r, notes in enumerate(everyone)),
                remedy="give every rank the same settings, callbacks and data",
            )
        note = sent[first]
        self._told.add(note.subject.name)
        named = [(note.name(number), part) for number, part in enumerate(note.parts)]
        everything = self._world.gather(named)
        return disagreement(note, {rank: everything[rank] for rank in ranks})

    def _described(self, note: Note) -> list[Part]:
        shard = self.shard[0] if note.is_of_shard and self.shard is not None else -1
        return [shard, note.subject.name, note.step, note.where, note.digest]


def _digest(notes: Iterable[Note]) -> int:
    return chained(number for note in notes for number in (note.step, note.digest))


def _pairs(numbers: Sequence[int]) -> Iterable[tuple[int, int]]:
    return zip(numbers[::2], numbers[1::2], strict=True)


def _unlike(of_ranks: Sequence[Sequence[Part]]) -> list[int]:
    """The ranks of the first shard whose notes aren't alike; none where all are."""
    for shard in sorted({of_rank[0] for of_rank in of_ranks}, key=str):
        ranks = [rank for rank, of_rank in enumerate(of_ranks) if of_rank[0] == shard]
        if any(of_ranks[rank] != of_ranks[ranks[0]] for rank in ranks):
            return ranks
    return []


def disagreement(
    note: Note, of_ranks: Mapping[int, Sequence[tuple[str, Part]]]
) -> DisagreementError:
    """The error for a note that differs: the first part of it that does, and on which ranks.

    Args:
        note: This rank's.
        of_ranks: The named parts of each rank's that should have the same.
    """
    zero = of_ranks[min(of_ranks)]
    others = [rank for rank, parts in of_ranks.items() if list(parts) != list(zero)]
    theirs = of_ranks[others[0]] if others else zero
    pairs = zip(zero, theirs, strict=False)
    shared = min(len(zero), len(theirs))
    place = next((n for n, (a, b) in enumerate(pairs) if tuple(a) != tuple(b)), shared)
    longer = max(zero, theirs, key=len)
    name = longer[place][0] if place < len(longer) else "their number"
    when = f"after step {note.step}" if note.step else "before the first step"
    where = f" of {note.where}" if note.where else ""
    values = ", ".join(
        f"{_shown(note.subject, parts, place)} on rank {rank}" for rank, parts in of_ranks.items()
    )
    return DisagreementError(
        f"the ranks disagree {when}: {name}{where} differs on "
        + ("rank " if len(others) == 1 else "ranks ")
        + ", ".join(map(str, others)),
        expected=f"the same {note.subject.name} on every rank",
        received=values,
        remedy=note.subject.remedy,
    )


def _shown(subject: Subject, parts: Sequence[tuple[str, Part]], place: int) -> str:
    if place >= len(parts):
        return "nothing"
    name, value = parts[place]
    if subject is WEIGHTS or subject is EVALUATED:
        return f"bits with the digest {int(value) % LIMIT:x}"
    return f"{value}" if subject is not FLAGS else f"{name}: {'yes' if value else 'no'}"
