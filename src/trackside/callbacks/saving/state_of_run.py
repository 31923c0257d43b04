"""Where a run stands when it is saved: position, metrics, and whether its weights are finite."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from trackside.errors import NonFiniteError
from trackside.models.naming import prefix
from trackside.run import Run
from trackside.step.precision import non_finite


def stand(run: Run) -> tuple[int, int, int]:
    """Position of the run: steps, epochs, and how often torch saw weights changed in place."""
    weights = (tensor for model in run.models.values() for tensor in model.parameters())
    changes = sum(tensor._version for tensor in weights)
    return run.progress.steps_completed, run.progress.epochs_closed, changes


def metrics_of_this_step(run: Run) -> dict[str, float]:
    """Metrics that were logged of the current weights."""
    values: dict[str, float] = {}
    for index in range(len(run.history) - 1, -1, -1):
        record = run.history[index]
        if record.step != run.progress.steps_completed:
            break
        values = {**record.values, **values}
    return values


def check_finite(
    run: Run, models: dict[str, dict[str, Any]], began_infinite: Mapping[str, Collection[str]]
) -> None:
    """Refuse to save weights that are NaN or infinite: they must never be the newest, or the best.

    Raises:
        NonFiniteError: On all ranks alike; names the step and the tensors.
    """
    bad = non_finite(
        (prefix(name, models) + key, value)
        for name, state in models.items()
        for key, value in state.items()
        if isinstance(value, torch.Tensor) and key not in began_infinite.get(name, ())
    )
    # Of shards, each rank has seen its own.
    found = dict.fromkeys(name for names in run.world.gather(bad) for name in names)
    if found:
        shown = [repr(name) for name in list(found)[:5]]
        raise NonFiniteError(
            f"the weights after step {run.progress.steps_completed} are not finite and were not "
            "saved",
            received=", ".join(shown) + (f", and {len(found) - 5} more" if len(found) > 5 else ""),
            remedy="resume from the last checkpoint with a lower learning rate or "
            "clipping; `TerminateOnNonFinite` stops before such an update",
        )
