"""A run described in YAML files: read, merged, checked, and made."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trackside.config.experiment.experiment import Experiment as Experiment
    from trackside.config.experiment.experiment import Finished as Finished
    from trackside.config.experiment.loading import load as load
    from trackside.config.text.problem import ExperimentError as ExperimentError
    from trackside.config.text.problem import Problem as Problem

_HOME_OF = {
    "Experiment": "experiment.experiment",
    "Finished": "experiment.experiment",
    "load": "experiment.loading",
    "ExperimentError": "text.problem",
    "Problem": "text.problem",
}

__all__ = ["Experiment", "ExperimentError", "Finished", "Problem", "load"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: reading a list of callbacks needs no torch.
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
