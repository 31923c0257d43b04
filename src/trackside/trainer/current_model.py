"""The attribute `model` of a trainer: what was given, and during a run the run's model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, final

from torch import nn

from trackside.run import Run

Given = nn.Module | Callable[[], nn.Module] | None
"""A module, a function that makes one, or nothing."""


class HasRun(Protocol):
    """An owner of the attribute: it knows the run under way."""

    _run: Run | None


@final
class CurrentModel:
    """`self.model` in a trainer: in a run, its model; with several, the one that `run.model` is.

    So a step may call `self.model`, also where a function has made it. Outside of a run it is what
    was given; another one that is given takes the place of the models of earlier runs.
    """

    def __get__(self, trainer: HasRun | None, kind: type | None = None) -> Any:
        if trainer is None:
            return self
        run = trainer._run
        return run.model if run is not None and hasattr(run, "models") else vars(trainer)["model"]

    def __set__(self, trainer: HasRun, given: Given) -> None:
        if vars(trainer).get("model") is not given:
            vars(trainer)["is_other_model"] = True
        vars(trainer)["model"] = given


def given(trainer: object) -> Any:
    """The model, or the function, that was given to a trainer; the same during a run.

    Something else, which no model is, where a class has an attribute `model` of another kind.
    """
    return vars(trainer).get("model", getattr(type(trainer), "model", None))


def take_other(trainer: object) -> bool:
    """Whether another model was given since this was asked last."""
    return bool(vars(trainer).pop("is_other_model", False))
