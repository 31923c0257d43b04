"""Modules that a run of this process has trained: a second run goes on with their weights."""

from __future__ import annotations

import logging
from weakref import WeakSet

from torch import nn

from trackside.run import Run

logger = logging.getLogger("trackside")

_trained: WeakSet[nn.Module] = WeakSet()


def remember(run: Run) -> None:
    """Keep in mind which modules `run`, which is over, has trained."""
    if run.mode == "fit" and hasattr(run, "models") and run.progress.steps_completed:
        _trained.update(run.models.values())


def tell(run: Run) -> None:
    """Say that `run` begins with weights that an earlier one has trained, unless it is resumed."""
    if run.resumed_from is not None or run.world.rank:
        return
    before = [name for name, model in run.models.items() if model in _trained]
    if before:
        logger.warning(
            "%s: trained in an earlier run; this one goes on with those weights, and with new "
            "optimizers. Give a function that makes the model to begin from the start, or "
            "`resume` to go on exactly",
            ", ".join(before),
        )
