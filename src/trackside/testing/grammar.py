"""The grammar of events: which may follow which, by the table of hooks; checks a run against it.

The events of one callback are a sentence: it begins with `on_attach` and ends with `on_close`.
Spans nest as their hooks' `inside` says, and those that stand outside of all come once, in the
table's order. A run that failed or was interrupted may leave spans open, any other may not.
"""

from __future__ import annotations

from collections.abc import Iterable

from trackside.errors import TracksideError, did_you_mean
from trackside.lifecycle.hooks import ANYWHERE, HOOKS, Hook
from trackside.outcome import Outcome, Status

_SHOWN = 12
_UNFINISHED = (Status.FAILED, Status.INTERRUPTED)
_ORDER = {name: place for place, name in enumerate(HOOKS)}


class GrammarError(TracksideError):
    """An event came where the lifecycle has no place for it."""


class Grammar:
    """Takes the events of one callback one after another and refuses those that can't come.

    Args:
        may_break_off: Whether an outer span may close while inner ones are open: only when the run
            is interrupted.
        late: Whether the callback joined a run that was under way: spans may close that it has not
            seen opening.

    Example:
        >>> grammar = Grammar()
        >>> for event in ("on_attach", "on_fit_start", "on_epoch_start"):
        ...     grammar.feed(event)
        >>> grammar.open_spans
        ('on_fit_start', 'on_epoch_start')
    """

    def __init__(self, *, may_break_off: bool = False, late: bool = False) -> None:
        self._may_break_off = may_break_off
        self._late = late
        self._seen: list[str] = []
        self._open: list[str] = []
        self._last_alone = ""
        self._closed = self._failing = False

    @property
    def open_spans(self) -> tuple[str, ...]:
        """Opening hooks of the spans that are open, the outermost first."""
        return tuple(self._open)

    @property
    def seen(self) -> tuple[str, ...]:
        """All events so far."""
        return tuple(self._seen)

    def feed(self, event: str) -> None:
        """Take the next event, by the name of its hook; an unknown name is a custom event.

        Raises:
            GrammarError: It can't come here.
        """
        self._check_frame(event)
        hook = HOOKS.get(event)
        if hook is None:
            self._check_custom(event)
        elif closes(hook) is not None:
            self._close(hook)
        else:
            self._check_place(hook)
            self._check_once(hook)
            if opens(hook):
                self._open.append(event)
        self._failing = self._failing or event == "on_exception"
        self._closed = event == "on_close"
        self._seen.append(event)

    def end(self, outcome: Outcome | Status) -> None:
        """The run is over.

        Raises:
            GrammarError: `on_close` is missing, or a span is open that this outcome doesn't leave
                open, or events and outcome contradict each other.
        """
        status = outcome.status if isinstance(outcome, Outcome) else outcome
        if not self._closed:
            self._refuse("the run ended without `on_close`")
        if self._open and status not in _UNFINISHED:
            last = HOOKS[self._open[-1]].closed_by
            self._refuse(f"a run that was {status} left spans open", expected=f"`{last}`")
        failed = status is Status.FAILED or (isinstance(outcome, Outcome) and bool(outcome.error))
        if failed != self._failing and not self._late:
            self._refuse(
                f"the outcome is {status}, and `on_exception` "
                + ("came" if self._failing else "did not come")
            )
        if "on_stop" in self._seen and status is Status.COMPLETED:
            self._refuse("the outcome is completed, and `on_stop` came")

    # --- rules ---------------------------------------------------------------------------------

    def _check_frame(self, event: str) -> None:
        """`on_attach` comes first, `on_close` last, and after `on_exception` nothing else."""
        if self._closed:
            self._refuse(f"`{event}` came after `on_close`", expected="nothing more")
        if not self._seen and event != "on_attach":
            self._refuse(f"`{event}` came before `on_attach`", expected="`on_attach`")
        if event == "on_attach" and self._seen:
            self._refuse("`on_attach` came twice", expected="any other hook")
        if self._failing and event in HOOKS and event != "on_close":
            self._refuse(f"`{event}` came after `on_exception`", expected="`on_close`")

    def _check_custom(self, event: str) -> None:
        if not event.startswith("on_"):
            self._refuse(f"{event!r} is not an event", remedy=did_you_mean(event, HOOKS))

    def _close(self, hook: Hook) -> None:
        opening = hook.closes
        if opening in self._open:
            inner = self._open[self._open.index(opening) + 1 :]
            if inner and not self._may_break_off:
                expected = f"`{HOOKS[inner[-1]].closed_by}` before it"
                self._refuse(f"`{hook.name}` came while a span in it was open", expected=expected)
            del self._open[self._open.index(opening) :]
        elif self._late and not self._open:
            return
        else:
            self._refuse(f"`{hook.name}` closes a span that isn't open", expected=f"`{opening}`")

    def _check_place(self, hook: Hook) -> None:
        """Require that a hook fires directly inside a span that its declaration names."""
        if hook.inside == ANYWHERE:
            return
        around = self._open[-1] if self._open else None
        if around in hook.inside or (self._late and not self._open):
            return
        places = " or ".join(f"inside `{span}`" if span else "outside" for span in hook.inside)
        where = f"inside `{around}`" if around else "outside of all spans"
        self._refuse(f"`{hook.name}` came {where}", expected=places)

    def _check_once(self, hook: Hook) -> None:
        """Require that hooks outside of all spans come once, in the order of the table."""
        if hook.name == "on_stop" and "on_stop" in self._seen:
            self._refuse("`on_stop` came twice")
        if hook.inside != (None,):
            return
        if self._last_alone and _ORDER[hook.name] <= _ORDER[self._last_alone]:
            self._refuse(f"`{hook.name}` came after `{self._last_alone}`")
        self._last_alone = hook.name

    def _refuse(self, what: str, *, expected: str | None = None, remedy: str | None = None) -> None:
        before = ", ".join(self._seen[-_SHOWN:]) or "nothing"
        more = "..., " if len(self._seen) > _SHOWN else ""
        raise GrammarError(
            f"event {len(self._seen) + 1}: {what}",
            expected=expected,
            received=f"so far: {more}{before}; open: {', '.join(self._open) or 'nothing'}",
            remedy=remedy,
        )


def opens(hook: Hook) -> bool:
    """Whether `hook` opens a span (`on_launch_start` doesn't: nothing ends a launch)."""
    return hook.opens and hook.closed_by in HOOKS


def closes(hook: Hook) -> str | None:
    """The hook whose span `hook` closes, if it closes one."""
    return hook.closes if hook.closes in HOOKS else None


def check_grammar(
    events: Iterable[object], outcome: Outcome | Status | None = None, *, late: bool = False
) -> None:
    """Refuse a sequence of events of one callback that the lifecycle can't produce.

    Args:
        events: Names of hooks, or events of a `Recorder`, in the order in which they came.
        outcome: How the run ended; None where the events are the beginning of a longer sequence.
        late: Whether the callback joined a run that was under way.

    Raises:
        GrammarError: Says which event, what was expected, and what came before.

    Example:
        >>> check_grammar(["on_attach", "on_close"], Status.COMPLETED)
        >>> check_grammar(["on_attach", "on_step_end"])
        Traceback (most recent call last):
        trackside.testing.grammar.GrammarError: event 2: `on_step_end` closes a span ...
    """
    status = outcome.status if isinstance(outcome, Outcome) else outcome
    grammar = Grammar(may_break_off=status is Status.INTERRUPTED, late=late)
    for event in events:
        grammar.feed(event if isinstance(event, str) else str(getattr(event, "name", event)))
    if outcome is not None:
        grammar.end(outcome)
