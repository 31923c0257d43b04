"""Callbacks written for other frameworks, taken in when they are registered.

A dialect (`trackside.dialects`) knows one framework, and appends an adopter here when it is
imported. Who uses a dialect's base class has imported it; for callbacks of the framework's own base
class, the dialect is imported when the first of them is registered. A run without any imports none.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar

from trackside.lifecycle.hooks import Callback
from trackside.run import Run

Adopter = Callable[[object], "Adopted | None"]

adopters: list[Adopter] = []
"""Each takes a callback (or a class of callbacks) and returns it adopted, or None if it can't."""

Maker = Callable[[type], "Callable[..., Any] | None"]

makers: list[Maker] = []
"""Each takes a class of callbacks and returns a function of its options, or None if it can't: for
classes whose constructor takes something else than options."""

TrainerMaker = Callable[[type, object], "type | None"]

trainers: list[TrainerMaker] = []
"""Each takes a class of trainers and a model, and returns a subclass with the model's own steps, or
None if the model has none."""

with_steps: list[Callable[[type], bool]] = []
"""Each says of a class whether it is that of models with their own steps and optimizers."""

WITH_STEPS = ("lightning", "pytorch_lightning")
"""Packages that have such models: a dialect is imported for these alone."""

DIALECTS: dict[str, str] = {
    "adaptiveneuralnetwork": "adaptive_neural_network",
    "dream_trainer": "dream_trainer",
    "keras": "keras",
    "lightning": "lightning",
    "nn_handler": "nn_handler",
    "src.nn_handler": "nn_handler",
    "noether": "noether",
    "pytorch_accelerated": "pytorch_accelerated",
    "pytorch_lightning": "lightning",
    "transformers": "transformers",
}
"""Package that a class of callbacks comes from, and the dialect that understands it."""


def ours_for(name: str) -> str:
    """The fully qualified name of the class that stands for a callback of another framework.

    Where the framework is installed, or isn't known, that is the name itself; else the name of the
    same built-in in its dialect.
    """
    package, _, rest = name.partition(".")
    if not rest or package not in DIALECTS or package in sys.modules or find_spec(package):
        return name
    return f"trackside.dialects.{DIALECTS[package]}.{rest.rpartition('.')[2]}"


class Adopted(Callback[Any]):
    """A callback of another framework, as a run sees it.

    Args:
        foreign: The callback itself.
    """

    dialect: ClassVar[str]
    """Name of the framework."""

    def __init__(self, foreign: Any) -> None:
        self.foreign = foreign

    @property
    def default_name(self) -> str:
        """Its name in a collection, unless it is given another."""
        return type(self.foreign).__name__

    def calls(self, hook: str) -> Sequence[tuple[int, Callable[..., Any]]]:
        """The calls that `hook` makes, in turns: the second when all callbacks have had the first.

        So that of two of their hooks which one of ours carries, each is over before the next.
        """
        return ((0, getattr(self, hook)),)

    def check(self, run_class: type[Run], others: Iterable[Callback[Any]]) -> None:
        """Refuse what its framework refuses when a callback joins.

        Args:
            run_class: The kind of run it would see.
            others: The callbacks of its class, or a subclass of it, that are there already.

        Raises:
            RegistrationError: It can't join them.
        """


class Translated:
    """A built-in of another framework that is one of ours, under their name and with their options.

    Args:
        native: Ours; it joins the run in its place, under the name of its class.
    """

    def __init__(self, native: Callback[Any]) -> None:
        native.name = native.name or type(self).__name__
        self.native = native


def adopt(callback: Any) -> Any:
    """`callback` as one of ours: itself, ours in its place, or adopted by a dialect.

    What nobody knows comes back as it is, for the collection to refuse.
    """
    if isinstance(callback, Callback):
        return callback
    if isinstance(callback, Translated):
        return callback.native
    _import_dialects_of(callback if isinstance(callback, type) else type(callback))
    for adopter in adopters:
        adopted = adopter(callback)
        if adopted is not None:
            return adopted
    return callback


def maker_of(kind: type) -> Callable[..., Any] | None:
    """A function of the options of a class of another framework's callbacks; None for others."""
    _import_dialects_of(kind)
    return next((made for maker in makers if (made := maker(kind)) is not None), None)


def trainer_class(kind: type, model: object) -> type:
    """The class of a trainer of `model`: `kind`, or a subclass where the model has its own steps.

    Args:
        kind: The class of trainers.
        model: The model as it was given.
    """
    model_class = model if isinstance(model, type) else type(model)
    if not brings_steps(model_class):
        return kind
    found = (made for maker in trainers if (made := maker(kind, model)) is not None)
    return next(found, kind)


def brings_steps(kind: object) -> bool:
    """Whether a class is that of models which bring their steps and their optimizers."""
    if not isinstance(kind, type):
        return False
    if not any(cls.__module__.partition(".")[0] in WITH_STEPS for cls in kind.__mro__):
        return False
    _import_dialects_of(kind)
    return any(known(kind) for known in with_steps)


def _import_dialects_of(kind: type) -> None:
    for cls in kind.__mro__:
        for package, dialect in DIALECTS.items():
            if f"{cls.__module__}.".startswith(f"{package}."):
                import_module(f"trackside.dialects.{dialect}")


def original(callback: Callback[Any]) -> Any:
    """The callback as registered: itself, or the foreign one that was adopted."""
    return callback.foreign if isinstance(callback, Adopted) else callback
