"""Requests of a run: asked, agreed and taken in one place.

A rank asks; at the next safe point all ranks agree; then the loop takes the agreed requests, kind
by kind. A request to skip the step under way can't wait for a safe point: it is agreed just before
the update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from trackside.errors import UsageError
from trackside.progress import TrainingBatch

Kind = Literal["stop", "save", "evaluate", "skip_step", "end_epoch", "roll_back", "fail"]
SIGNAL = "signal"
"""The asker's name where a signal asks."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: what is asked, by whom, why, at which step and on which ranks."""

    kind: Kind
    reason: str
    asked_by: str
    """Name of the callback, `"signal"`, or `"trainer"`."""
    name: str = ""
    """Name of the data set, for `evaluate`."""
    signal: int | None = None
    """Number of the signal behind a stop."""
    diverged: bool = False
    """Whether a stop is for numbers that went wrong."""
    leave_out: tuple[TrainingBatch, ...] = ()
    """Batches to leave out from now on, for `roll_back`."""
    all_ranks: bool = False
    """Whether all ranks ask for it at this very step: it is taken here, and not a little later."""
    step: int = 0
    """Steps completed when it was asked first."""
    ranks: tuple[int, ...] = ()
    """Ranks that asked; empty when all did."""

    @property
    def who(self) -> str:
        """The asker, and on which ranks, unless on all."""
        if not self.ranks:
            return self.asked_by
        word = "rank" if len(self.ranks) == 1 else "ranks"
        return f"{self.asked_by} on {word} {', '.join(map(str, self.ranks))}"

    @property
    def outlives_rollback(self) -> bool:
        """Whether it still holds when the steps in which it was made are dropped."""
        return self.kind in ("stop", "fail") or self.asked_by == SIGNAL


class Agreement(Protocol):
    """How requests become decisions of all ranks (`distributed/agreement.py`)."""

    def at_step(self, asked: Sequence[Request]) -> Sequence[Request]:
        """Hand in what was asked here since the last call; get what is to be done now."""

    def agree_now(self, asked: Sequence[Request]) -> Sequence[Request]:
        """As `at_step`, but waits for all ranks: nothing asked anywhere is open afterwards."""

    def exchange(self, asked: Sequence[Request]) -> Sequence[Request]:
        """Exchange these at once; requests handed in before, by `at_step`, stay under way."""


class Requests:
    """The inbox of a run: asked here, agreed with the other ranks, taken by the loop."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        """Asked on this rank and not handed to the agreement yet, oldest first. Always the same
        list: the loop looks at it after every step."""
        self._agreed: list[Request] = []
        self.stop: Request | None = None
        """The request that ends the run, once it is agreed and taken."""
        self.going_back: list[Request] = []
        """Agreed requests to go back to a checkpoint, until the run is there: it first leaves
        everything under way."""
        self.stopping = False
        """Whether the end was asked for: from then on, until the run is over. What is
        asked on another rank is known here once the ranks have agreed."""

    def __iter__(self) -> Iterator[Request]:
        """Requests that are known here and not taken yet."""
        return iter([*self._agreed, *self.asked])

    def __len__(self) -> int:
        return len(self._agreed) + len(self.asked)

    # --- asking and agreeing -------------------------------------------------------------------

    def ask(self, request: Request) -> None:
        """Ask for something; taken at the next safe point.

        Raises:
            UsageError: The reason isn't text: it is kept in files and shown.
        """
        if not isinstance(request.reason, str):
            raise UsageError(
                f"the reason of a request `{request.kind}` must be text",
                received=f"{request.reason!r} ({type(request.reason).__name__})",
            )
        self.asked.append(request)
        if request.kind == "stop":
            self.stopping = True

    def agree(self, agreement: Agreement, *, wait: bool = True) -> None:
        """Learn what all ranks have agreed on; in one process, what was asked for.

        Args:
            agreement: The way to the other ranks.
            wait: Wait for all ranks, so that nothing asked anywhere stays open. Otherwise what was
                asked may come up a few calls later, on all ranks at once.
        """
        handed = self._take_asked(lambda request: request.kind != "skip_step")
        together = [request for request in handed if request.all_ranks]
        alone = [request for request in handed if not request.all_ranks]
        self._agreed += together
        # What all ask for at this step waits for what one has asked for: a return to a checkpoint
        # comes before the save of a state that it drops.
        waits = wait or bool(together)
        self._add(agreement.agree_now(alone) if waits else agreement.at_step(alone))

    def agree_on_skip(self, agreement: Agreement) -> bool:
        """Whether the step under way is to be skipped; all ranks have to call.

        `take("skip_step")` then returns the requests.
        """
        self._add(agreement.exchange(self._take_asked(lambda one: one.kind == "skip_step")))
        return any(request.kind == "skip_step" for request in self._agreed)

    def _add(self, agreed: Sequence[Request]) -> None:
        self._agreed += agreed
        if not self.stopping and any(request.kind == "stop" for request in agreed):
            self.stopping = True

    def _take_asked(self, wanted: Callable[[Request], bool]) -> list[Request]:
        if not self.asked:
            return []
        taken = [request for request in self.asked if wanted(request)]
        for request in taken:  # one by one: a signal may add another meanwhile
            self.asked.remove(request)
        return taken

    # --- taking --------------------------------------------------------------------------------

    @property
    def agreed(self) -> bool:
        """Whether a request is agreed and not taken yet."""
        return bool(self._agreed)

    def take(self, kind: Kind) -> list[Request]:
        """Agreed requests of one kind, oldest first; they are no longer open."""
        taken = [request for request in self._agreed if request.kind == kind]
        if taken:
            self._agreed = [request for request in self._agreed if request.kind != kind]
        return taken

    def end(self, request: Request) -> bool:
        """Let the run end for `request`; False when it is ending already."""
        if self.stop is not None:
            return False
        self.stop, self.stopping = request, True
        return True

    @property
    def leaving(self) -> bool:
        """Whether everything under way must be left: for the end, or to go back."""
        return self.stop is not None or bool(self.going_back)

    @property
    def interrupted(self) -> bool:
        """Whether it is agreed that the run ends because of a signal."""
        asked = [*self._agreed, *([self.stop] if self.stop else [])]
        return any(request.signal is not None for request in asked)

    @property
    def signal(self) -> int | None:
        """Number of the signal that asked for the end, as far as this rank knows."""
        asked = [*self, *([self.stop] if self.stop else [])]
        return next((one.signal for one in asked if one.signal is not None), None)

    # --- dropping ------------------------------------------------------------------------------

    def drop_with_steps(self) -> None:
        """Drop agreed requests with the steps in which they were made, unless they outlive them."""
        self._agreed = [request for request in self._agreed if request.outlives_rollback]

    @contextmanager
    def discarding(self) -> Iterator[None]:
        """Drop requests made inside, except of a signal or a failure: these are of the run."""
        before = self.mark()
        try:
            yield
        finally:
            self.back_to(before)

    def mark(self) -> tuple[list[Request], bool]:
        """Requests so far, for `back_to`."""
        return list(self.asked), self.stopping

    def back_to(self, mark: tuple[list[Request], bool]) -> None:
        """Drop requests made since `mark`, except of a signal or a failure."""
        before, stopping = mark
        self.asked[:] = [
            r for r in self.asked if r in before or r.asked_by == SIGNAL or r.kind == "fail"
        ]
        self.stopping = stopping or any(request.kind == "stop" for request in self.asked)
