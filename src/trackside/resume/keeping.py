"""`keep`: exact resume for a loop that you write, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from trackside.by_hand.attached import Attachment, attach
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.schedule import Schedule


def keep(
    directory: str | Path,
    *,
    model: nn.Module | Mapping[str, nn.Module],
    optimizer: Optimizer | Mapping[str, Optimizer],
    loader: Any,
    every: Schedule | str = "100 steps",
    state: Mapping[str, Any] | None = None,
    keep_last: int | None = 2,
) -> Attachment:
    """A loop by hand that is saved as it goes, and goes on bitwise where it was killed.

    The newest checkpoint of the folder that is whole is loaded; without any, the loop begins. A
    signal saves and ends it, and the end of the loop saves.

    Args:
        directory: The folder of the run; the same again goes on with it.
        model: The model, or several by name.
        optimizer: Its optimizer, or several by name.
        loader: A `DataLoader`, or any iterable of batches.
        every: When to save.
        state: What else changes, by name; see `trackside.attach`.
        keep_last: How many of the newest checkpoints stay; None keeps all.

    Returns:
        To be used with `with`; its block gets the run of `trackside.attach`.

    Raises:
        UsageError: A part is of the wrong kind, or the process is one of several.

    Example:
        >>> with resume.keep("runs/mine", model=model, optimizer=optimizer, loader=loader) as run:
        ...     for epoch in run.epochs(10):
        ...         for inputs, target in run.batches():
        ...             ...
        ...             run.step_done()
    """
    return attach(
        model=model,
        optimizers=optimizer,
        loader=loader,
        callbacks=[Checkpoint(every, keep_last=keep_last)],
        state=state,
        directory=directory,
        resume="auto",
    )
