"""The vector of an agreement: what a rank says in it, what it says of all ranks, how often it goes.

Pure: whole numbers in, decisions out; the same on every rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import final

from trackside.errors import TracksideError
from trackside.requests import Request

FIELDS = ("requests", "notice", "milliseconds", "steps", "minus_steps")
"""The vector: how many requests this rank has, whether it has a notice, the clock (rank 0 only),
and the calls so far, once with each sign, so that their maximum over ranks shows ranks that aren't
at the same step."""


def vote(requests: int, seconds: float, steps: int, *, notice: bool = False) -> list[int]:
    """The vector of one rank, by `FIELDS`. Reduced over ranks by the maximum."""
    return [requests, int(notice), int(seconds * 1000), steps, -steps]


def read(reduced: Sequence[int]) -> tuple[bool, bool, float]:
    """Whether any rank asked, whether there is a notice, and the clock of rank 0 in seconds.

    Raises:
        TracksideError: The ranks are not at the same step.
    """
    requests, notice, milliseconds, most, minus_least = reduced
    if most != -minus_least:
        raise TracksideError(
            "the ranks are not at the same step",
            expected="the same number of steps on every rank",
            received=f"between {-minus_least} and {most}",
            remedy="give every rank equally many batches (an IterableDataset of its own length "
            "per rank is the usual cause)",
        )
    return requests > 0, notice > 0, milliseconds / 1000


def merge(asked: Sequence[Sequence[Request]]) -> list[Request]:
    """The requests of all ranks in the one order that every rank applies them in.

    By rank, and on each rank in the order of asking; what several asked for in the same words
    comes once, and says on which ranks it was asked, unless all did.
    """
    found: dict[Request, tuple[Request, list[int]]] = {}
    for rank, requests in enumerate(asked):
        for request in requests:
            words = replace(request, step=0, ranks=())
            first, ranks = found.setdefault(words, (request, []))
            if request.step < first.step:
                found[words] = (request, ranks)
            if rank not in ranks:
                ranks.append(rank)
    return [
        request if len(ranks) == len(asked) else replace(request, ranks=tuple(ranks))
        for request, ranks in found.values()
    ]


@final
class Pace:
    """How many steps lie between two exchanges; depends on agreed clocks only.

    Args:
        fixed: Always so many; None adapts.
    """

    AIM_SECONDS = 0.2
    MOST_STEPS = 64
    """Bounds the delay when steps suddenly get long, and still makes an exchange cheap."""

    def __init__(self, fixed: int | None = None) -> None:
        if fixed is not None and fixed < 1:
            raise TracksideError(
                "ranks agree every so many steps", expected="at least 1", received=str(fixed)
            )
        self._fixed = fixed
        self._last: tuple[int, float] | None = None
        self.steps = fixed or 1
        """Steps until the next exchange."""

    def observe(self, step: int, seconds: float) -> None:
        """An exchange that was sent off at `step` said that the clock stood at `seconds`."""
        if self._fixed is None and self._last is not None:
            steps, took = step - self._last[0], seconds - self._last[1]
            wanted = steps * self.AIM_SECONDS / took if took > 0 else self.MOST_STEPS
            # Down at once, up by doubling: one short interval does not prove short steps.
            self.steps = int(max(1, min(wanted, 2 * self.steps, self.MOST_STEPS)))
        self._last = (step, seconds)

    def pause(self) -> None:
        """The clock goes on without steps (an evaluation): the interval under way says nothing."""
        self._last = None
