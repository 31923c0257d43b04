"""Callbacks that a trainer or a model declares, and the first word to all: the trainer is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from torch import nn

from trackside.distributed import RankInfo
from trackside.errors import UsageError
from trackside.lifecycle.adoption import adopt, original
from trackside.lifecycle.collection import CallbackCollection, name_for
from trackside.run import Run
from trackside.trainer.current_model import given
from trackside.trainer.default_settings import default_settings
from trackside.trainer.defaults import add_non_finite, collect
from trackside.trainer.remote_folder import add_upload

if TYPE_CHECKING:
    from trackside.trainer.trainer import Trainer

Declared = list[tuple[str | None, Any]]

_of_a_run: WeakSet[Any] = WeakSet()
"""Callbacks of models that were made for one run: the next run's model brings others."""


def collect_for(
    trainer: Trainer, callbacks: Iterable[Any] | Mapping[str, Any], *, defaults: bool
) -> CallbackCollection:
    """All callbacks of a trainer: the defaults, its own, those of its model, those given to it."""
    declared = _pairs(trainer.configure_callbacks(), "configure_callbacks")
    if isinstance(trainer.model, nn.Module):
        declared += declared_by(trainer.model)
    found = collect(
        callbacks,
        trainer.run_class,
        defaults=defaults,
        declared=declared,
        settings=default_settings(type(trainer)),
    )
    add_non_finite(found, trainer.settings.non_finite)
    found.check_requirements_of(trainer, "trainer")
    return found


def declared_by(model: nn.Module) -> Declared:
    """Callbacks that a model's `configure_callbacks` returns, with names where it gives some."""
    configure = getattr(model, "configure_callbacks", None)
    if configure is None:
        return []
    return _pairs(configure(), f"{type(model).__name__}.configure_callbacks")


def join(trainer: Trainer, run: Run) -> None:
    """Add the callbacks of models that were made for this run.

    One that was given to the trainer stays in the place of one of its class or its name.
    """
    for model in run.models.values():
        if model is given(trainer):
            continue  # they have been there since the trainer was made
        for name, callback in declared_by(model):
            name = name or name_for(callback)
            there = run.callbacks.get(name)
            kinds = (type(original(one)) for one in run.callbacks if one not in _of_a_run)
            if there is None and type(original(callback)) in kinds:
                continue
            if there is None or there in _of_a_run:
                _of_a_run.add(original(callback))
                run.callbacks[name] = callback


def introduce(trainer: Trainer) -> None:
    """Call `trainer_made` of the callbacks that haven't heard of this trainer yet."""
    add_upload(trainer.callbacks, trainer.settings)
    trainer.callbacks.introduce(trainer, RankInfo.from_environment().rank)


def _pairs(given: object, where: str) -> Declared:
    if isinstance(given, Mapping):
        return [(name, adopt(one)) for name, one in given.items() if one is not None]
    if not isinstance(given, Iterable):
        raise UsageError(
            f"`{where}` returns no callbacks",
            expected="a list of callbacks, or a mapping by name",
            received=type(given).__name__,
        )
    return [(None, adopt(one)) for one in given]
