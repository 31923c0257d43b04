"""Callbacks whose constructor takes parts of a run: made when the run knows these parts."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trackside.lifecycle.hooks import Callback
from trackside.run import Run

PARTS: Mapping[str, Callable[[Run], Any]] = {
    "run": lambda run: run,
    "model": lambda run: run.model,
    "models": lambda run: run.models,
    "data": lambda run: run.data,
    "device": lambda run: run.device,
    "world": lambda run: run.world,
    "directory": lambda run: run.directory,
    "config": lambda run: run.config,
}
"""Names of parameters that a run fills in, where they have no default."""

_KEPT = ("runs_in", "rank_zero_only", "runs_after", "runs_before", "requires")


class Injected(Callback[Any]):
    """Stands for a callback until model and data are there; is then replaced by it.

    The callback joins in `on_configure_end` of each run, under the name that stood for it, so that
    it hears the hooks from `on_setup_start` on.

    Args:
        kind: Its class, or a function that makes it.
        options: Arguments that are known.
        parts: The others, each as a function of the run.
    """

    def __init__(
        self,
        kind: Callable[..., Any],
        options: Mapping[str, Any],
        parts: Mapping[str, Callable[[Run], Any]],
    ) -> None:
        self.maker = kind
        self.options = dict(options)
        self.parts = dict(parts)
        for name in _KEPT:
            if hasattr(kind, name):
                setattr(self, name, getattr(kind, name))

    @property
    def title(self) -> str:
        """Name of the class that it stands for."""
        return str(getattr(self.maker, "__name__", type(self).__name__))

    def rehearse_in(self, folder: Path) -> bool:
        """Take part, unless the callback itself has something to say about it."""
        if not isinstance(self.maker, type) or not issubclass(self.maker, Callback):
            return True
        return self.maker.rehearse_in is Callback.rehearse_in

    def on_configure_end(self, run: Run) -> None:
        """Make the callback, and give it the place."""
        given = {name: part(run) for name, part in self.parts.items()}
        run.callbacks.stand_in(self, self.maker(**self.options, **given))


def parts_needed(kind: Callable[..., Any]) -> dict[str, Callable[[Run], Any]]:
    """The parameters without default of a class's constructor that a run fills in."""
    return {name: PARTS[name] for name in _required(kind) if name in PARTS}


def missing_options(kind: Callable[..., Any]) -> list[str]:
    """The parameters without default that somebody has to give."""
    return [name for name in _required(kind) if name not in PARTS]


def _required(kind: Callable[..., Any]) -> list[str]:
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(kind).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variable]


def with_parts(kind: type[Callback[Any]]) -> Callable[..., Callback[Any]]:
    """A function of the options of a class whose constructor takes parts of the run as well."""
    parts = parts_needed(kind)

    def make(**options: Any) -> Callback[Any]:
        return Injected(kind, options, parts)

    hints = typing.get_type_hints(kind.__init__)
    own = [p for p in inspect.signature(kind).parameters.values() if p.name not in parts]
    return described_as(
        make, kind, [p.replace(kind=p.KEYWORD_ONLY, annotation=hints.get(p.name, Any)) for p in own]
    )


def described_as(
    make: Callable[..., Any], kind: type, parameters: list[inspect.Parameter]
) -> Callable[..., Any]:
    """`make` with the name and documentation of `kind`, and these parameters."""
    make.__name__, make.__doc__ = kind.__name__, kind.__doc__
    make.__annotations__ = {p.name: p.annotation for p in parameters}
    make.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return make
