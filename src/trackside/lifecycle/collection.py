"""CallbackCollection: names, order, adding and removing, state."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

from trackside.errors import (
    DuplicateCallbackError,
    MissingRequirementError,
    RegistrationError,
    UnknownCallbackError,
    WrongTimeError,
    about,
    restoring,
)
from trackside.lifecycle.adoption import Adopted, adopt, original
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.hooks import HOOKS, Callback, is_overridden
from trackside.lifecycle.injection import Injected
from trackside.lifecycle.member import Member
from trackside.lifecycle.members import Members, is_a
from trackside.lifecycle.ordering import in_order
from trackside.lifecycle.registration import check_callback, made, not_ours
from trackside.outcome import Outcome, Status
from trackside.run import Run
from trackside.vocabulary.idioms import package_of

C = TypeVar("C")


def snake_case(class_name: str) -> str:
    """`EarlyStopping` becomes `early_stopping`, `CSVLogger` `csv_logger`, `EMA` `ema`."""
    words = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", class_name)
    return re.sub(r"([a-z\d])([A-Z])", r"\1_\2", words).lower()


class CallbackCollection:
    """Callbacks by name, in the order in which they are called.

    Works like a list (`append`, `len`, iteration) and like a mapping (`callbacks["ema"]`,
    `callbacks[EMA]`, `callbacks["ema"] = EMA()`, `del callbacks["ema"]`). Changing it during a run
    is allowed and takes effect at the next event. Callbacks of frameworks that a dialect knows are
    adopted: looking one up returns the callback itself, iterating what the run sees of it.

    Args:
        callbacks: A list, or a mapping from names to callbacks.
        run_class: What callbacks typed `Callback[R]` are checked against.

    Raises:
        RegistrationError: A callback can't join; the subclass says why.
    """

    def __init__(
        self,
        callbacks: Iterable[object] | Mapping[str, object] = (),
        run_class: type[Run] = Run,
    ) -> None:
        self._run_class = run_class
        self._members = Members()
        self._ordered: list[Member] = []
        self._order_keys: set[str | type[Any]] = set()
        self._dispatcher: Dispatcher | None = None
        self._first: Member | None = None
        self._stood_for: dict[str, Injected] = {}
        """Placeholders whose callbacks are there until the next run begins, by name."""
        if isinstance(callbacks, Mapping):
            self.extend(callbacks.items())
        else:
            self.extend((None, callback) for callback in callbacks)

    # --- adding and removing -------------------------------------------------------------------

    def extend(self, members: Iterable[tuple[str | None, object]]) -> None:
        """Add (name, callback) pairs together, before a run; a name may be left open as None."""
        for name, callback in members:
            with about(callback=name):
                member = self._member(callback, name)
            self._members.put(member)
        self._refresh()
        self.check_requirements()

    def append(self, callback: object, name: str | None = None) -> None:
        """Add a callback at the end. During a run it is attached at once."""
        with about(callback=name):
            member = self._member(callback, name)
        self._members.put(member)
        try:
            self._refresh_with(member)
            self.check_requirements_of(member.callback, member.name)
        except RegistrationError:
            self._members.take(member)
            self._refresh()
            raise
        self._attach(member)

    def __setitem__(self, name: str, callback: object) -> None:
        """Add a callback under `name`, in the place of the one that had it, if any."""
        existing = self._find(name)
        if existing is None:
            self.append(callback, name)
            return
        if self._members.holding(callback) is existing:
            return
        replacement = self._member(callback, name, instead_of=existing)
        self._members.put(replacement)
        try:
            self._refresh()
            self.check_requirements()
        except RegistrationError:
            self._members.put(existing)
            self._refresh()
            raise
        self._detach(existing, f"replaced by another {name!r}")
        self._attach(replacement)

    def __delitem__(self, key: str | type[Any]) -> None:
        """Remove a callback. During a run it is closed at once.

        Raises:
            MissingRequirementError: Another callback requires it.
        """
        member = self._require(key)
        self.check_requirements(without=member)
        self._members.take(member)
        self._refresh()
        self._detach(member, "removed from the run")

    def _member(self, given: object, name: str | None, instead_of: Member | None = None) -> Member:
        callback = made(adopt(given))
        if isinstance(callback, type) and package_of(callback) is None:
            raise RegistrationError(
                f"`{callback.__name__}` is a class, not a callback",
                remedy=f"make an instance: `{callback.__name__}(...)`",
            )
        if not isinstance(callback, Callback):
            raise not_ours(callback)
        if self._members.holding(original(callback)) not in (None, instead_of):
            raise DuplicateCallbackError(
                f"the same instance of `{type(original(callback)).__name__}` was added twice",
                remedy="make a second instance with another name",
            )
        check_callback(callback, self._run_class)
        if isinstance(callback, Adopted):
            kind = type(callback.foreign)
            alike = [one for one in self._members.of_class(kind) if one is not instead_of]
            callback.check(self._run_class, [one.callback for one in alike])
        explicit = name or callback.name
        if explicit is None:
            return Member(self._members.free_name(name_for(callback)), callback)
        if self._members.named(explicit) not in (None, instead_of):
            raise DuplicateCallbackError(
                f"two callbacks are named {explicit!r}", remedy="give one of them another name"
            )
        return Member(explicit, callback)

    def introduce(self, trainer: object, rank: int) -> None:
        """Call `trainer_made` of those who haven't heard of their trainer yet, in order."""
        for member in self._ordered:
            if not member.introduced:
                member.introduced = True
                if rank == 0 or not member.callback.rank_zero_only:
                    with about(callback=member.name):
                        member.callback.trainer_made(trainer)

    def stand_in(self, placeholder: Injected, callback: object) -> None:
        """Put `callback` in the place of what stood for it, until another run begins."""
        name = self.name_of(placeholder)
        self[name] = callback
        self._stood_for[name] = placeholder

    # --- during a run --------------------------------------------------------------------------

    @property
    def dispatcher(self) -> Dispatcher:
        """Calls the callbacks during a run: for those who evaluate by themselves.

        Raises:
            WrongTimeError: Outside of a run.
        """
        if self._dispatcher is None:
            raise WrongTimeError("no run is under way", expected="from `on_attach` to `on_close`")
        return self._dispatcher

    def enter(self, dispatcher: Dispatcher, first: Callback[Any] | None = None) -> None:
        """Join a run: attach all callbacks, in order.

        Args:
            dispatcher: Calls the callbacks from now on.
            first: Somebody outside the collection who comes before all others: the trainer.
        """
        for name, placeholder in self._stood_for.items():
            if name in self:
                self._members.put(Member(name, placeholder))
        self._stood_for.clear()
        self._dispatcher = dispatcher
        self._first = Member("trainer", first) if first is not None else None
        for member in self._members:
            member.begin()
        self._refresh()
        for member in self._everybody():
            # One that has joined already may have removed others, or added some.
            if not member.attached and (member is self._first or member in self._members):
                dispatcher.attach(member)

    def leave(self) -> None:
        """The run is over: changes no longer reach its dispatcher."""
        self._dispatcher = None
        self._first = None

    def _everybody(self) -> list[Member]:
        return [*([self._first] if self._first else []), *self._ordered]

    def _attach(self, member: Member) -> None:
        if self._dispatcher is not None:
            self._dispatcher.attach(member)

    def _detach(self, member: Member, reason: str) -> None:
        if self._dispatcher is not None:
            self._dispatcher.detach(member, Outcome(Status.STOPPED, reason))

    def refresh(self) -> None:
        """Look again which hooks the callbacks override, after one of them has got a method."""
        self._refresh()

    def _refresh(self) -> None:
        self._ordered = in_order(self._members)
        self._order_keys = {
            key
            for member in self._members
            for key in (*member.callback.runs_after, *member.callback.runs_before)
        }
        self._tell_dispatcher()

    def _refresh_with(self, member: Member) -> None:
        """Like `_refresh`, when `member` is new: most come last, and nobody need be sorted."""
        if self._comes_last(member):
            self._ordered.append(member)
            self._tell_dispatcher()
        else:
            self._refresh()

    def _comes_last(self, member: Member) -> bool:
        callback = member.callback
        if callback.runs_after or callback.runs_before:
            return False
        return not any(
            key == member.name if isinstance(key, str) else is_a(callback, key)
            for key in self._order_keys
        )

    def _tell_dispatcher(self) -> None:
        if self._dispatcher is not None:
            self._dispatcher.set_members(self._everybody())

    def check_requirements(self, without: Member | None = None) -> None:
        """Refuse a collection in which a callback that another `requires` is missing.

        Args:
            without: A member that is about to leave.
        """
        for member in self._members:
            if member is not without:
                self.check_requirements_of(member.callback, member.name, without)

    def check_requirements_of(
        self, callback: Callback[Any], name: str, without: Member | None = None
    ) -> None:
        """Refuse `callback`, called `name`, that requires a callback which is not here."""
        for needed in callback.requires:
            if not self._members.has(needed, without):
                raise MissingRequirementError(
                    f"{name!r} needs a callback of class `{needed.__name__}`",
                    received=", ".join(self.names) or "no callbacks",
                    remedy=f"add `{needed.__name__}(...)` to the callbacks",
                    callback=name,
                )

    # --- looking up ----------------------------------------------------------------------------

    @overload
    def __getitem__(self, key: str) -> Any: ...
    @overload
    def __getitem__(self, key: type[C]) -> C: ...
    def __getitem__(self, key: str | type[C]) -> Any:
        return original(self._require(key).callback)

    def get(self, key: str) -> Any:
        """The callback of that name, or None."""
        member = self._find(key)
        return original(member.callback) if member else None

    def __contains__(self, key: object) -> bool:
        if isinstance(key, (str, type)):
            return self._find(key) is not None
        return self._members.holding(key) is not None

    def __iter__(self) -> Iterator[Callback[Any]]:
        return iter([member.callback for member in self._ordered])

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        parts = (f"{member.name}={original(member.callback)!r}" for member in self._ordered)
        return f"CallbackCollection({', '.join(parts)})"

    def items(self) -> list[tuple[str, Callback[Any]]]:
        """Names and callbacks, in the order in which they are called."""
        return [(member.name, member.callback) for member in self._ordered]

    @property
    def names(self) -> tuple[str, ...]:
        """Names, in the order in which the callbacks are called."""
        return tuple(member.name for member in self._ordered)

    def name_of(self, callback: object) -> str:
        """The name under which `callback` is registered. Raises `UnknownCallbackError`."""
        member = self._members.holding(callback)
        if member is None:
            raise UnknownCallbackError.among(self.names, callback, "in this collection")
        return member.name

    def order(self, hook: Callable[..., Any] | str) -> list[str]:
        """Names of those who listen to `hook`, in the order in which they are called.

        `on_close` is called in reverse.
        """
        name = hook if isinstance(hook, str) else hook.__name__
        members = self._everybody()
        names = [m.name for m in members if is_overridden(m.callback, name)]
        return names[::-1] if name == "on_close" else names

    def table(self) -> dict[str, list[str]]:
        """Names of listeners in order, for every hook that has any."""
        return {hook: names for hook in HOOKS if (names := self.order(hook))}

    def failures(self) -> dict[str, int]:
        """Number of failures of each callback with `on_error="warn"` that failed."""
        return {m.name: m.failures for m in self._members if m.failures}

    def _find(self, key: str | type[Any]) -> Member | None:
        return next(iter(self._members.matching(key)), None)

    def _require(self, key: str | type[Any]) -> Member:
        member = self._find(key)
        if member is None:
            what = key if isinstance(key, str) else key.__name__
            raise UnknownCallbackError.among(self.names, what)
        return member

    # --- state ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """States by name, of those that have any."""
        states = {member.name: member.callback.state_dict() for member in self._ordered}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, states: Mapping[str, dict[str, Any]]) -> None:
        """Restore states by name, whatever the order; warn about those without a partner."""
        for member in self._ordered:
            if member.name in states:
                with about(callback=member.name), restoring(f"callback {member.name!r}"):
                    member.callback.load_state_dict(states[member.name])
            elif member.callback.state_dict():
                warnings.warn(
                    f"callback {member.name!r} starts fresh: the checkpoint has no state of it",
                    stacklevel=2,
                )
        for name in states:
            if name not in self:
                warnings.warn(
                    f"the checkpoint has a state of {name!r}, and there is no such callback now",
                    stacklevel=2,
                )


def name_for(callback: Any) -> str:
    """The name of a callback that isn't given another one."""
    if isinstance(callback, Callback) and callback.name is not None:
        return callback.name
    if isinstance(callback, Adopted):
        return callback.default_name
    if isinstance(callback, Injected):
        return snake_case(callback.title)
    return snake_case(type(callback).__name__)
