"""A run described in YAML files: read, merged, checked, and made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackside.imports.lazy import lazily

if TYPE_CHECKING:
    from trackside.config.experiment.experiment import Experiment as Experiment
    from trackside.config.experiment.experiment import Finished as Finished
    from trackside.config.experiment.loading import load as load
    from trackside.config.text.problem import ExperimentError as ExperimentError
    from trackside.config.text.problem import Problem as Problem
else:
    # Reading a list of callbacks needs no torch.
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "experiment.experiment": (
                "Experiment",
                "Finished",
            ),
            "experiment.loading": ("load",),
            "text.problem": (
                "ExperimentError",
                "Problem",
            ),
        },
    )

__all__ = [
    "Experiment",
    "ExperimentError",
    "Finished",
    "Problem",
    "load",
]
