"""The dispatcher: calls listeners in order, handles their failures, and times them.

Listeners are computed when a callback joins or leaves, never in the loop: a hook that nobody
overrides costs one look-up in `listeners`.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from itertools import dropwhile
from time import perf_counter
from typing import Any, Concatenate, ParamSpec

from trackside.errors import StopTraining, TracksideError, note_on
from trackside.lifecycle.adoption import Adopted
from trackside.lifecycle.failures import AT_ONCE, Failures, is_forgiven
from trackside.lifecycle.hooks import CONTEXTS, HOOKS, Callback, is_overridden
from trackside.lifecycle.member import Guard, Listener, Member
from trackside.outcome import Outcome
from trackside.run import Run

P = ParamSpec("P")
logger = logging.getLogger("trackside")


class Dispatcher:
    """Calls the listeners of each hook in order.

    Args:
        run: First argument of every hook.
        shield: Entered around the listeners of an event; the trainer gives `torch.no_grad`.
        rank: Global rank of this process; callbacks for rank zero only are silent on the others.
        guard: Takes the place of each call of a hook, and makes it; None: nobody looks on.
    """

    def __init__(
        self,
        run: Run,
        shield: Callable[[], AbstractContextManager[Any]] = nullcontext,
        rank: int = 0,
        guard: Guard | None = None,
    ) -> None:
        self._run = run
        self.guard = guard
        """Makes the calls of hooks in the place of the dispatcher; None: nobody does."""
        self._rank = rank
        self._shield = shield
        self._members: tuple[Member, ...] = ()
        self._attached: list[Member] = []
        self._left: list[Member] = []
        self._calling: Listener | None = None
        self.failures = Failures(run)
        """The first error of a callback that waits until the run is saved."""
        self.listeners: dict[Any, tuple[Listener, ...]] = {}
        """Listeners of each hook, in order; empty for a hook that no callback overrides."""
        self.contexts: dict[str, tuple[Listener, ...]] = {}
        """Callbacks that provide a context, in order."""
        self.on_change: Callable[[], None] | None = None
        """Called when the listeners have changed: the loop notes which parts of a step have any."""
        self._table()

    # --- listeners -----------------------------------------------------------------------------

    def set_members(self, members: Sequence[Member]) -> None:
        """Take `members`, in this order, from the next event on."""
        self._members = tuple(members)
        self._table()

    def look_on(self, guard: Guard) -> None:
        """Let `guard` make the calls of hooks from the next event on."""
        self.guard = guard
        self._table()

    def _table(self) -> None:
        active = [m for m in self._members if not m.switched_off and self._is_for_us(m)]
        events = {name: getattr(Callback, name) for name in HOOKS}
        known = [*events.values(), *(e for e in self.listeners if e not in events.values())]
        self.listeners = {hook: self._who_listens(hook.__name__, active) for hook in known}
        self.contexts = {name: self._who_has(name, active) for name in CONTEXTS}
        if self.on_change is not None:
            self.on_change()

    def has_listeners(self, *hooks: Callable[..., Any]) -> bool:
        """Whether one of `hooks` has a listener."""
        return any(self.listeners[hook] for hook in hooks)

    def _who_listens(self, name: str, members: Sequence[Member]) -> tuple[Listener, ...]:
        found = self._who_has(name, members)
        if self.guard is None:
            return found
        return tuple((m, self.guard(m, name, call), name) for m, call, _ in found)

    @staticmethod
    def _who_has(name: str, members: Sequence[Member]) -> tuple[Listener, ...]:
        listening = [m for m in members if is_overridden(m.callback, name)]
        found = [(turn, m, call) for m in listening for turn, call in _calls(m.callback, name)]
        in_turns = sorted(found, key=lambda one: one[0])
        return tuple((m, call, name) for _, m, call in in_turns)

    @property
    def current_callback(self) -> str | None:
        """Name of the callback whose hook is being called now."""
        return self._calling[0].name if self._calling is not None else None

    # --- firing --------------------------------------------------------------------------------

    def fire(
        self, hook: Callable[Concatenate[Any, Any, P], object], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Call every listener of `hook`, in order."""
        # The method itself is the key: a misspelt or misused event is a type error.
        listeners = self.listeners.get(hook)
        if listeners is None:
            self.listeners[hook] = ()
            self._table()
            listeners = self.listeners[hook]
        if kwargs:
            listeners = tuple((m, partial(call, **kwargs), name) for m, call, name in listeners)
        if listeners:
            with self._shield():
                self._fire(listeners, (self._run, *args))

    def _fire(self, listeners: Sequence[Listener], args: tuple[Any, ...]) -> None:
        """Call `listeners`, as `_call` does; the end of one is where the time of the next begins.

        Here is all that a callback costs in a step: what isn't done for each is done around.
        """
        outer = self._calling
        began = now = perf_counter()
        try:
            for listener in listeners:
                member, call, name = listener
                if member.attached:  # it may have been removed within this event
                    self._calling = listener
                    try:
                        call(*args)
                    except BaseException as error:
                        goes_on = self._goes_on(member, name, call, error)
                        then = perf_counter()
                        member.seconds += then - now
                        now = then
                        if not goes_on:
                            self._calling = outer
                            if not self._waits(listeners, listener, args, error):
                                raise
                            break
                    else:
                        if member.failing:
                            member.failing.pop((name, _name_of(call)), None)
                        then = perf_counter()
                        member.seconds += then - now
                        now = then
        finally:
            self._return_to(outer, now - began)

    def _waits(
        self, listeners: Sequence[Listener], failed: Listener, args: Any, error: BaseException
    ) -> bool:
        """Tell the others of the event in which `failed` raised `error`.

        Returns whether the error waits until the run is saved; see `lifecycle/failures.py`.
        """
        member, _, name = failed
        if not isinstance(error, Exception) or name in AT_ONCE:
            return False
        _, *others = dropwhile(lambda one: one is not failed, listeners)
        for other in others:
            if other[0].attached:
                try:
                    self._call(other, *args[1:])
                except Exception as another:  # the first is the one to raise
                    note_on(error, f"telling {other[0].name!r} of `{name}`", another)
        if not self.failures.waits_at(name):
            return False
        self.failures.keep(error, member.name, name)
        return True

    def fire_guarded(self, hook: Callable[..., Any], *args: Any) -> list[BaseException]:
        """Fire `hook` so that an error in one listener doesn't keep it from the others."""
        errors: list[BaseException] = []
        for listener in self.listeners.get(hook, ()):
            if not listener[0].attached:
                continue
            try:
                with self._shield():
                    self._call(listener, *args)
            except BaseException as error:  # collected: the run is ending with another error
                errors.append(error)
        return errors

    def transform(self, hook: Callable[..., Any], batch: Any, *before: Any) -> Any:
        """Fire a hook whose listeners may replace the batch; the next one sees the new batch."""
        with self._shield():
            for listener in self.listeners[hook]:
                if listener[0].attached:
                    replacement = self._call(listener, *before, batch)
                    if replacement is not None:
                        batch = replacement
        return batch

    def _call(self, listener: Listener, *args: Any) -> Any:
        """Make one call, note whose it is, and add its time to that callback's."""
        member, call, name = listener
        outer, self._calling = self._calling, listener
        began = perf_counter()
        try:
            result = call(self._run, *args)
        except BaseException as error:
            if not self._goes_on(member, name, call, error):
                raise
            return None
        else:
            if member.failing:
                member.failing.pop((name, _name_of(call)), None)
            return result
        finally:
            seconds = perf_counter() - began
            member.seconds += seconds
            self._return_to(outer, seconds)

    def _return_to(self, outer: Listener | None, seconds: float) -> None:
        """Calls are over that took `seconds`, within the hook of `outer` if there is one."""
        self._calling = outer
        if outer is not None:
            outer[0].seconds -= seconds

    def _goes_on(self, member: Member, hook: str, call: Any, error: BaseException) -> bool:
        """Whether training goes on after `error`: to its end, or without that hook."""
        if isinstance(error, StopTraining):
            self._run.stop(error.reason)
            return True
        return self._forgives(member, hook, _name_of(call), error)

    def _forgives(self, member: Member, hook: str, call: str, error: BaseException) -> bool:
        """Note where `error` came from; return whether training goes on without that hook."""
        step = self._run.progress.steps_completed
        note = f"in callback {member.name!r}, hook `{hook}`, after {step} completed steps"
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        if isinstance(error, TracksideError):
            error.callback = error.callback or member.name
        if not is_forgiven(member.callback, self._run, hook, error):
            return False
        member.failures += 1
        member.failing[hook, call] = member.failing.get((hook, call), 0) + 1
        if member.failures == 1:
            logger.warning("callback %r failed, training goes on", member.name, exc_info=error)
        if member.switched_off:
            logger.warning(
                "callback %r is switched off after %d failures in a row",
                member.name,
                member.callback.switch_off_after,
            )
            self._table()
        return True

    def context(self, name: str) -> AbstractContextManager[None]:
        """Enter the contexts that callbacks provide, the first callback's outermost.

        They are left in reverse. None of them can swallow an error that is under way, or replace
        it: what goes wrong while leaving is then a note on it.
        """
        return _Contexts(self, name) if self.contexts[name] else nullcontext()

    # --- joining and leaving -------------------------------------------------------------------

    def attach(self, member: Member) -> None:
        """Attach `member`; from here on `close` will reach it."""
        self._attached.append(member)
        member.attached = True
        self._only(member, "on_attach")

    def detach(self, member: Member, outcome: Outcome) -> None:
        """Close a member that leaves before the end."""
        if member in self._attached:
            self._attached.remove(member)
            self._left.append(member)
            member.attached = False
            self._only(member, "on_close", outcome)

    def close(self, outcome: Outcome) -> list[BaseException]:
        """Close every attached member in reverse order, each guarded; return what they raised."""
        errors: list[BaseException] = []
        while self._attached:
            member = self._attached.pop()
            self._left.append(member)
            member.attached = False
            try:
                self._only(member, "on_close", outcome)
            except BaseException as error:  # guaranteed clean-up: the others must still be closed
                errors.append(error)
        return errors

    def _only(self, member: Member, hook: str, *args: Any) -> None:
        if self._is_for_us(member) and is_overridden(member.callback, hook):
            call = getattr(member.callback, hook)
            if self.guard is not None:
                call = self.guard(member, hook, call)
            with self._shield():
                self._call((member, call, hook), *args)

    def _is_for_us(self, member: Member) -> bool:
        callback = member.callback
        on_this_rank = self._rank == 0 or not callback.rank_zero_only
        return on_this_rank and self._run.mode in callback.runs_in

    def seconds_by_callback(self) -> dict[str, float]:
        """Seconds spent in each callback so far, by name, the costliest first."""
        seconds: defaultdict[str, float] = defaultdict(float)
        for member in [*self._left, *self._attached]:
            seconds[member.name] += member.seconds
        return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def _name_of(call: Callable[..., Any]) -> str:
    return getattr(call, "__name__", "")


def _calls(callback: Callback[Any], hook: str) -> Sequence[tuple[int, Callable[..., Any]]]:
    if isinstance(callback, Adopted):
        return callback.calls(hook)
    return ((0, getattr(callback, hook)),)


class _Contexts(AbstractContextManager[None]):
    """The contexts of all callbacks around one step or batch."""

    def __init__(self, dispatcher: Dispatcher, name: str) -> None:
        self._dispatcher = dispatcher
        self._name = name
        self._entered = ExitStack()

    def __enter__(self) -> None:
        with ExitStack() as stack:
            for member, make, name in self._dispatcher.contexts[self._name]:
                manager = self._dispatcher._call((member, partial(_entered, make), name))
                if manager is not None:
                    stack.push(partial(self._leave, member, manager))
            self._entered = stack.pop_all()

    def __exit__(self, *error: Any) -> None:
        self._entered.__exit__(*error)

    def _leave(self, member: Member, manager: Any, *error: Any) -> None:
        under_way = error[1]
        try:
            self._dispatcher._call((member, lambda _: manager.__exit__(*error), self._name))
        except BaseException as another:
            if under_way is None:
                raise
            note_on(under_way, f"leaving `{self._name}`", another)


def _entered(make: Callable[..., Any], run: Run) -> Any:
    manager = make(run)
    manager.__enter__()
    return manager
