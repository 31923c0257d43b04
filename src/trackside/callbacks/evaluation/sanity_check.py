"""`SanityCheck`."""

from __future__ import annotations

from itertools import islice
from typing import final

import torch

from trackside.data.batches import move
from trackside.errors import NonFiniteError
from trackside.lifecycle.hooks import Callback
from trackside.progress import whole_number
from trackside.run import Run
from trackside.step.evaluation import evaluating
from trackside.step.output import as_output


@final
class SanityCheck(Callback):
    """Evaluates a few batches of every data set before the first step.

    An error in the evaluation then shows in the first seconds, not after the first epoch. Nothing
    is logged, no hook fires, and training begins as if it had not happened.

    Args:
        batches: How many of each data set.

    Raises:
        ConfigurationError: Not a positive number.
        NonFiniteError: When the run starts: a loss is NaN or infinite; names data and batch.

    Example:
        >>> SanityCheck(batches=2)
    """

    def __init__(self, batches: int = 2) -> None:
        self.batches = whole_number(batches, "batches", at_least=1)

    def on_fit_start(self, run: Run) -> None:
        for name, source in run.data.items():
            if name == "train":
                continue
            with evaluating(run.models), run.discarding(), source.aside() as batches:
                for number, batch in enumerate(islice(batches, self.batches), start=1):
                    with run.precision.autocast or torch.no_grad():
                        returned = run.steps.evaluation_step(run, move(batch.data, run.device))
                    loss = as_output(returned).loss
                    if not torch.isfinite(loss).all():
                        raise NonFiniteError(
                            f"the loss of batch {number} of {name!r} is {loss.item()} before the "
                            "first step",
                            remedy="look at this batch, the loss function and the initial weights",
                        )
