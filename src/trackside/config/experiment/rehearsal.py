"""`--rehearse`: a rehearsal of what a file describes; see `trackside.trainer.rehearsal`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trackside.config.experiment.experiment import Experiment
from trackside.schedule import Every
from trackside.trainer.rehearsal import Rehearsal, RehearsalError, Stage, first_batches, go_through
from trackside.trainer.trainer import Trainer

__all__ = ["Rehearsal", "RehearsalError", "rehearse"]


def rehearse(experiment: Experiment) -> Rehearsal:
    """Go through all that a run of `experiment` will do; leave nothing behind.

    Raises:
        RehearsalError: Names the part that failed; the error is its cause.
        ExperimentError: Something of it can't be made.
    """
    hurried = _hurried(experiment)
    samples = hurried.batching.samples

    def data() -> dict[str, Any]:
        made = hurried.make_data()
        return {n: first_batches(one, samples) for n, one in made.items()}

    def trainer(folder: Path) -> Trainer:
        return hurried.trainer(folder)

    def evaluate(trainer: Trainer) -> None:
        sets = data()
        for name in hurried.evaluate:
            size = hurried.batch_size_for(sets[name])
            trainer.evaluate(sets[name], name=name, batch_size=size)

    return go_through(
        Stage(
            trainer,
            lambda: hurried.fit_arguments(data()),
            evaluate if hurried.evaluate else None,
            hurried.located,
        )
    )


def _hurried(experiment: Experiment) -> Experiment:
    """The experiment with its schedules as short as they can be."""
    values: Mapping[str, Any] = {
        key: value
        for key, value in experiment.trainer_values.items()
        if key not in ("directory", "log_every", "evaluate_every", "resume")
    }
    more = {"log_every": Every(steps=1)}
    known = experiment.keys.options.table
    return replace(
        experiment, trainer_values={**values, **{k: v for k, v in more.items() if k in known}}
    )
