"""Checks, before the first step, that a run can be rolled back at all."""

from __future__ import annotations

from trackside.errors import ConfigurationError
from trackside.run import Run


def prepare_to_roll_back(run: Run) -> None:
    """Have the training data remember its place, so that a callback can roll the run back.

    Raises:
        ConfigurationError: No callback saves checkpoints, or the data can be read once only.
    """
    if run.saver is None:
        raise ConfigurationError(
            "there is nothing to roll back to: no callback saves checkpoints",
            remedy="add the callback `Checkpoint(every='100 steps')`",
            option="policy",
        )
    if not run.data["train"].rewinds:
        raise ConfigurationError(
            "the training data can be passed over once only: nothing can be rolled back",
            expected="data that can be read again: a Dataset, a DataLoader, a list",
            option="policy",
        )
    run.data["train"].remember()
