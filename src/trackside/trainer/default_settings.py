"""Defaults of the settings that a run describes, for reports that mark what differs from them."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

from trackside.trainer.settings import Settings

_OF_THE_TRAINER = ("seed", "precision", "accumulate", "clip")
_OF_SETTINGS = ("device", "compile", "step", "log_every", "deterministic")


def default_settings(trainer: type) -> dict[str, Any]:
    """Defaults by the names of `run.config`.

    Args:
        trainer: The class; one whose constructor leaves an option out has no default of it.
    """
    parameters = inspect.signature(trainer).parameters
    found = {
        name: parameters[name].default
        for name in _OF_THE_TRAINER
        if name in parameters and parameters[name].default is not inspect.Parameter.empty
    }
    return found | {one.name: one.default for one in fields(Settings) if one.name in _OF_SETTINGS}
