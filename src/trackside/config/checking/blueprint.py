"""A `kind:` with its options, checked and not made yet."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, get_origin

from trackside.config.checking.hints import full_name
from trackside.config.checking.options import hints_of
from trackside.config.text.place import Path, Place
from trackside.config.text.problem import ExperimentError, Problem
from trackside.errors import TracksideError


@dataclass(eq=False, slots=True)
class Blueprint:
    """A call that isn't made yet: first everything is checked."""

    kind: str
    """As it was written."""
    target: Callable[..., Any]
    path: Path
    place: Place | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    """By parameter; values may hold further blueprints."""
    by_position: tuple[str, ...] = ()
    """Arguments that can only be given by position, in order."""
    rest: str | None = None
    """The argument whose list becomes `*args`."""
    partial: bool = False
    """Whether what is wanted is a function that makes it, not the thing itself."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """Attributes to set on the constructed object."""
    key_places: dict[str, Place] = field(default_factory=dict)

    @property
    def makes(self) -> Any:
        """The class of what it makes; None when that isn't known."""
        if inspect.isclass(self.target):
            return self.target
        hint = hints_of(self.target).get("return")
        made = get_origin(hint) or hint
        return made if isinstance(made, type) else None

    @property
    def name(self) -> str:
        """Fully qualified name of what is called."""
        return full_name(self.target)

    def build(self) -> Any:
        """Make it, and before it all that it holds.

        Raises:
            ExperimentError: The constructor refuses; the error it raised is the cause.
        """
        keywords = {name: built(value) for name, value in self.arguments.items()}
        positional = [keywords.pop(name) for name in self.by_position if name in keywords]
        if self.rest is not None:
            positional += keywords.pop(self.rest, ())
        if self.partial:
            return functools.partial(self.target, *positional, **keywords)
        with self.refusals():
            made = self.target(*positional, **keywords)
            for name, value in self.attributes.items():
                setattr(made, name, value)
        return made

    def refusals(self) -> Refusals:
        """Wraps a call of `target`: what it raises becomes a problem of the configuration."""
        return Refusals(self)

    def within(self) -> Iterator[Blueprint]:
        """Itself, and every blueprint in its arguments."""
        yield self
        for value in self.arguments.values():
            for inner in _blueprints_in(value):
                yield from inner.within()


def built(value: Any) -> Any:
    """A copy of plain values in which every blueprint is built."""
    if isinstance(value, Blueprint):
        return value.build()
    if isinstance(value, dict):
        return {key: built(inner) for key, inner in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(built(inner) for inner in value)
    return value


def _blueprints_in(value: Any) -> Iterator[Blueprint]:
    if isinstance(value, Blueprint):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _blueprints_in(inner)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from _blueprints_in(inner)


class Refusals:
    """A context that turns an error of a constructor into a problem with a place."""

    def __init__(self, blueprint: Blueprint) -> None:
        self.blueprint = blueprint

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        """Turn an ordinary error into `ExperimentError`; leave interrupts and exits alone."""
        if isinstance(error, Exception) and not isinstance(error, ExperimentError):
            raise ExperimentError([refusal(self.blueprint, error)]) from error


def refusal(blueprint: Blueprint, error: Exception) -> Problem:
    """A constructor's error as a problem: at the option that it is about, when it says so."""
    refuses = f"`{blueprint.kind}` refuses its options"
    if not isinstance(error, TracksideError):
        known = isinstance(error, (ValueError, TypeError))
        failed = refuses if known else f"making `{blueprint.kind}` failed: {type(error).__name__}"
        return Problem(f"{failed}: {error}", blueprint.place, blueprint.path)
    place, path = blueprint.place, blueprint.path
    if error.option in blueprint.key_places:
        place, path = blueprint.key_places[error.option], (*path, error.option)
    return Problem(
        f"{refuses}: {error.message}",
        place,
        path,
        expected=error.expected,
        received=error.received,
        remedy=error.remedy,
    )
