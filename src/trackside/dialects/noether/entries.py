"""Callbacks of Noether from entries of its YAML."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from trackside.dialects.noether.bases import (
    CallbackBase,
    PeriodicCallback,
    config_class,
    made_of,
)
from trackside.errors import ConfigurationError, did_you_mean
from trackside.lifecycle.adoption import ours_for


def build(entry: Mapping[str, Any]) -> Any:
    """Make a callback of an entry of their YAML: `kind`, `name`, one frequency, and its options.

    One whose constructor reads parts of the run (`self.model`) is made when the run begins.

    Args:
        entry: As read from the file. `kind` is the fully qualified name of the class.

    Raises:
        ConfigurationError: There is no such class, or an option that it doesn't have.
        ScheduleError: Not exactly one frequency, for a periodic callback.
    """
    kind = _class_of(entry)
    if not issubclass(kind, PeriodicCallback):
        return kind(**{key: value for key, value in entry.items() if key != "kind"})
    config = config_class(kind)
    known = [field.name for field in fields(config)]
    unknown = [key for key in entry if key not in known]
    if unknown:
        raise ConfigurationError(
            f"`{kind.__name__}` has no option `{unknown[0]}`",
            remedy=did_you_mean(unknown[0], known),
        )
    return made_of(kind, config(**entry))


def callback(
    of: str,
    *,
    every_n_epochs: int | None = None,
    every_n_updates: int | None = None,
    every_n_samples: int | None = None,
    batch_size: int | None = None,
    dataset_key: str | None = None,
    options: dict[str, Any] | None = None,
) -> Any:
    """The same for Trackside's own YAML: `kind: trackside.dialects.noether.adapter.callback`.

    Args:
        of: Fully qualified name of the callback's class.
        every_n_epochs: One of the three frequencies, for a periodic callback.
        every_n_updates: One of the three frequencies, for a periodic callback.
        every_n_samples: One of the three frequencies, for a periodic callback.
        batch_size: Items of a batch, where it passes over data.
        dataset_key: Name of the data that it passes over.
        options: The other keys of its entry.
    """
    given = {
        "every_n_epochs": every_n_epochs,
        "every_n_updates": every_n_updates,
        "every_n_samples": every_n_samples,
        "batch_size": batch_size,
        "dataset_key": dataset_key,
        **(options or {}),
    }
    return build({"kind": of, **{key: value for key, value in given.items() if value is not None}})


def _class_of(entry: Mapping[str, Any]) -> type[CallbackBase]:
    name = entry.get("kind")
    module, _, attribute = ours_for(str(name)).rpartition(".")
    if not module:
        raise ConfigurationError(
            "a callback needs a `kind`",
            expected="the fully qualified name of its class, such as my_callbacks.Accuracy",
            received=repr(name),
        )
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"there is no callback `{name}`", received=f"{type(error).__name__}: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, CallbackBase)):
        raise ConfigurationError(
            f"`{name}` isn't a callback of Noether",
            expected="a subclass of `trackside.dialects.noether.adapter.CallbackBase`",
        )
    return found
