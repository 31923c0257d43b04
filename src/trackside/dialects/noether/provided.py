"""Parts that Noether gives to the constructors of callbacks, of a run; also for its own classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from trackside.dialects.noether.run import (
    CheckpointWriter,
    DataContainer,
    MetricPropertyProvider,
    Tracker,
    TrainerView,
    Writer,
)
from trackside.lifecycle import adoption
from trackside.lifecycle.injection import Injected, described_as
from trackside.run import Run

ARGUMENTS = {
    "trainer": "trainer",
    "model": "model",
    "data_container": "data_container",
    "tracker": "tracker",
    "log_writer": "writer",
    "checkpoint_writer": "checkpoint_writer",
    "metric_property_provider": "metric_property_provider",
}
"""Arguments of the constructors, and the attributes that they become."""
THEIRS = ("noether.core.callbacks.base", "CallbackBase")


def parts_of(run: Run, data_key: str | None = None) -> dict[str, Any]:
    """The parts of a run by the names of the attributes that callbacks have."""
    views: dict[str, Any] = {
        "trainer": TrainerView(),
        "data_container": DataContainer(),
        "tracker": Tracker(),
        "writer": Writer(data_key),
        "checkpoint_writer": CheckpointWriter(),
    }
    for view in views.values():
        view.look_at(run)
    return {**views, "model": run.model, "metric_property_provider": MetricPropertyProvider()}


def injected(kind: Callable[..., Any], config: Any) -> Injected:
    """A callback whose constructor gets the parts of the run, when these are known."""

    def part(attribute: str, run: Run) -> Any:
        return parts_of(run, getattr(config, "dataset_key", None))[attribute]

    parts = {name: partial(part, attribute) for name, attribute in ARGUMENTS.items()}
    options = {} if config is None else {"callback_config": config}
    found = Injected(kind, options, parts)
    given = getattr(config, "id", None) or getattr(config, "name", None)
    found.name = given or found.title
    return found


def maker(kind: type) -> Callable[..., Any] | None:
    """A function of the options of a class of Noether's own package; None for other classes."""
    if not any((cls.__module__, cls.__name__) == THEIRS for cls in kind.__mro__):
        return None
    config = _config_of(kind)
    if config is None:
        return described_as(lambda: injected(kind, None), kind, [])

    def make(**options: Any) -> Injected:
        return injected(kind, config(kind=f"{kind.__module__}.{kind.__qualname__}", **options))

    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.is_required() else field.get_default(),
            annotation=field.annotation,
        )
        for name, field in config.model_fields.items()
        if name not in ("kind", "name")
    ]
    return described_as(make, kind, parameters)


def _config_of(kind: Any) -> Any:
    """The class of the configuration that the constructor declares; None where it has none."""
    constructor = kind.__init__
    hint = constructor.__annotations__.get("callback_config")
    # By itself: other annotations name what is imported for the type checker only.
    return constructor.__globals__.get(hint) if isinstance(hint, str) else hint


adoption.makers.append(maker)
