"""Agreement: what any callback on any rank asked for, applied at the same step on every rank.

Each rank calls `at_step` after every step. At some of these calls, the same on all ranks, a small
vector of whole numbers is sent off to be reduced in the background, and the one sent before is
read, which has long arrived: the loop does not wait. Only when the vector says that a rank asked
are the requests themselves exchanged, once. `agree_now` does both at once, where ranks meet anyway:
before an evaluation, at the end of an epoch.

How often: every step when steps are long, and every few milliseconds' worth of steps when they are
short (`Pace`), so that a request is applied within about four tenths of a second, or two steps.
The pace follows the clock of rank 0, which travels in the vector: all ranks compute the same.

Example:
    The loop of one process or many::

        agreement = agree(world)
        for batch in batches:
            train_step(batch)
            for request in agreement.at_step(requests_since_the_last_call):
                apply(request)
        for request in agreement.agree_now(requests_since_the_last_call):
            apply(request)
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, final

import torch
import torch.distributed as dist

from trackside.distributed.votes import FIELDS, Pace, merge, read, vote
from trackside.progress import training_batches
from trackside.requests import Request

if TYPE_CHECKING:
    from trackside.distributed.rank_checks import RankChecks
    from trackside.distributed.world import World

Clock = Callable[[], float]


class Agreement(ABC):
    """The way in which requests become decisions of all ranks; see the module for the protocol."""

    @property
    @abstractmethod
    def seconds(self) -> float:
        """Seconds since the run began by the clock of rank 0: the same number on every rank.

        Decide by it whatever depends on time (wall-clock schedules, time limits), at the calls of
        `at_step` and `agree_now`, and every rank decides the same at the same step.
        """

    @abstractmethod
    def at_step(self, asked: Sequence[Request]) -> Sequence[Request]:
        """Hand in what was asked on this rank since the last call; get what is to be done now.

        To be called after every step, on every rank.
        """

    @abstractmethod
    def agree_now(self, asked: Sequence[Request]) -> Sequence[Request]:
        """As `at_step`, but waits for all ranks: afterwards, nothing asked anywhere is open."""

    @abstractmethod
    def any(self, here: bool) -> bool:
        """Whether `here` is true on some rank. Waits for all; only for what can't come later."""

    @abstractmethod
    def exchange(self, asked: Sequence[Request]) -> Sequence[Request]:
        """Requests of any rank, at once; for those that can't come later. Waits for all.

        A request to skip the step under way is of that kind: one rank's gradients are those of all.
        """

    @abstractmethod
    def compare_now(self) -> None:
        """Compare over ranks what was noted for that (`rank_checks`); waits for all.

        Raises:
            DisagreementError: The ranks differ.
        """

    @abstractmethod
    def notify(self) -> None:
        """Let all ranks know, at one step, that something has happened on rank 0.

        For what happens beside the loop (a checkpoint is written): it needs no words, and comes
        with the next exchange.
        """

    @abstractmethod
    def take_notice(self) -> bool:
        """Whether a notice has come since the last call; the same on all ranks at one step."""


def agree(
    world: World,
    *,
    clock: Clock | None = None,
    every: int | None = None,
    checks: RankChecks | None = None,
) -> Agreement:
    """The agreement of `world`.

    Args:
        world: One rank or many.
        clock: Seconds since the run began, on rank 0; None counts from now.
        every: Steps between two exchanges; None follows the duration of steps.
        checks: What is compared over ranks with each exchange; None compares nothing.
    """
    clock = clock or _since(time.monotonic())
    if world.size == 1:
        return Alone(clock)
    exchange, pace = GlooExchange(world), Pace(fixed=every)
    return Together(exchange, clock, pace, speaks=world.is_global_zero, checks=checks)


def _since(start: float) -> Clock:
    return lambda: time.monotonic() - start


@final
class Alone(Agreement):
    """One process: everything asked is done at once.

    Args:
        clock: Seconds since the run began.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._notice = False

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return self._clock()

    def at_step(self, asked: Sequence[Request]) -> Sequence[Request]:
        """The requests, without duplicates."""
        return merge([asked]) if asked else ()

    def agree_now(self, asked: Sequence[Request]) -> Sequence[Request]:
        """The requests, without duplicates."""
        return self.at_step(asked)

    def any(self, here: bool) -> bool:
        """`here`."""
        return here

    def exchange(self, asked: Sequence[Request]) -> Sequence[Request]:
        """The requests, without duplicates."""
        return self.at_step(asked)

    def compare_now(self) -> None:
        """Do nothing: there is no other rank."""

    def notify(self) -> None:
        """Note it."""
        self._notice = True

    def take_notice(self) -> bool:
        """Whether it was noted."""
        notice, self._notice = self._notice, False
        return notice


# --- the ranks together -----------------------------------------------------------------------


class Exchange(ABC):
    """Interface of the ranks for `Together`; tests put a simulated world here."""

    @abstractmethod
    def send(self, vector: list[int]) -> Callable[[], list[int]]:
        """Send a vector off; the result waits for, and returns, the maximum over ranks."""

    @abstractmethod
    def gather(self, requests: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
        """The requests of each rank, in order of ranks; waits for all."""


@final
class GlooExchange(Exchange):
    """Over the side group: on the CPU, in gloo's own threads, whatever the model runs on."""

    def __init__(self, world: World) -> None:
        assert world.links is not None  # only made for a world of several ranks
        self._world = world
        self._connections = world.links.connections
        self._group = world.links.side
        # The group's own method: torch.distributed.all_reduce costs several times as much.
        self._options = dist.AllreduceOptions()
        self._options.reduceOp = dist.ReduceOp(dist.ReduceOp.MAX)

    def send(self, vector: list[int]) -> Callable[[], list[int]]:
        """Start the reduction."""
        tensor = torch.tensor(vector, dtype=torch.int64)
        under_way = self._connections.under_way
        under_way.add(tensor)
        work = self._group.allreduce([tensor], self._options)

        def arrived() -> list[int]:
            self._connections.wait_for(work, self._group)
            under_way.discard(tensor)
            numbers: list[int] = tensor.tolist()
            return numbers

        return arrived

    def gather(self, requests: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
        """Exchange them as JSON."""
        return self._world.gather(requests)


@final
class Together(Agreement):
    """Several ranks; see the module.

    Args:
        exchange: The way to the other ranks.
        clock: Seconds since the run began.
        pace: How often.
        speaks: Whether the clock of this rank counts: on rank 0.
        checks: What is compared over ranks with each exchange; None compares nothing.
    """

    def __init__(
        self,
        exchange: Exchange,
        clock: Clock,
        pace: Pace,
        *,
        speaks: bool,
        checks: RankChecks | None = None,
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._speaks = speaks
        self._checks = checks
        self._pace = pace
        self._calls = 0
        self._next_call = 1
        self._open: list[Request] = []
        """Asked here, not sent off yet."""
        self._sent: list[Request] = []
        """Asked here before the exchange under way was sent off: counted in its vector."""
        self._arrived: Callable[[], list[int]] | None = None
        self._sent_at = 0
        self._seconds = 0.0
        self._has_notice = False
        """A notice of this rank, not sent off yet."""
        self._noticed = False

    @property
    def seconds(self) -> float:
        """The clock of rank 0, as of the last exchange that was read."""
        return self._seconds

    def at_step(self, asked: Sequence[Request]) -> Sequence[Request]:
        """Read the exchange under way and send off the next, when it is time."""
        if asked:
            self._open += asked
        self._calls += 1
        if self._calls < self._next_call:
            return ()
        agreed = self._receive()
        self._send()
        self._next_call = self._calls + self._pace.steps
        return agreed

    def agree_now(self, asked: Sequence[Request]) -> Sequence[Request]:
        """Read the exchange under way, then send off one more and wait for it."""
        self._open += asked
        agreed = self._receive()
        self._send(now=True)
        agreed = [*agreed, *self._receive()]
        self._pace.pause()
        return agreed

    def any(self, here: bool) -> bool:
        """A separate exchange; the one under way stays under way."""
        return self._exchange.send([int(here)])() != [0]

    def exchange(self, asked: Sequence[Request]) -> Sequence[Request]:
        """One exchange of its own, and a second one where a rank asked."""
        return self._gather(asked) if self.any(bool(asked)) else ()

    def compare_now(self) -> None:
        """A separate exchange; the one under way stays under way."""
        if self._checks is not None:
            self._checks.compare_now(self._exchange.send)

    def notify(self) -> None:
        """The next exchange that is sent off says it."""
        self._has_notice = True

    def take_notice(self) -> bool:
        """Whether an exchange that was read since the last call said so."""
        noticed, self._noticed = self._noticed, False
        return noticed

    def _send(self, *, now: bool = False) -> None:
        self._sent, self._open = self._open, []
        self._sent_at = self._calls
        seconds = self._clock() if self._speaks else 0.0
        notice, self._has_notice = self._has_notice, False
        own = vote(len(self._sent), seconds, self._calls, notice=notice)
        if self._checks is not None:
            own += self._checks.vector(now=now)
        self._arrived = self._exchange.send(own)

    def _receive(self) -> list[Request]:
        if self._arrived is None:
            return []
        arrived, self._arrived = self._arrived, None
        reduced = arrived()
        somebody_asked, notice, self._seconds = read(reduced[: len(FIELDS)])
        if self._checks is not None:
            self._checks.compare(reduced[len(FIELDS) :])
        self._noticed |= notice
        self._pace.observe(self._sent_at, self._seconds)
        return self._gather(self._sent) if somebody_asked else []

    def _gather(self, asked: Sequence[Request]) -> list[Request]:
        parts = self._exchange.gather([asdict(request) for request in asked])
        return merge([[_request(fields) for fields in part] for part in parts])


def _request(fields: dict[str, Any]) -> Request:
    """A request as it was before `asdict`, and JSON, took it apart."""
    ranks, batches = tuple(fields["ranks"]), training_batches(fields["leave_out"])
    return Request(**{**fields, "ranks": ranks, "leave_out": batches})
