"""`OfflineLoss`."""

from __future__ import annotations

from typing import Any, final

import torch

from trackside.data.counting import samples_in
from trackside.machine.accelerator import exact_dtype
from trackside.run import Run
from trackside.schedule import Schedule
from trackside.step.evaluation import EvaluationCallback
from trackside.step.output import as_output


@final
class OfflineLoss(EvaluationCallback):
    """Logs the loss over a whole data set with the weights as they are now.

    The training loss that the loop records is a mean over weights that change while it is taken;
    over the same data, this one is not. It fires no evaluation hooks and computes no metrics.

    Args:
        data: Name of the data, `train` included (on one rank).
        every: When.

    Example:
        >>> OfflineLoss("train", every="1 epoch")  # logs offline/train
    """

    effect = "observes"
    on_error = "warn"
    sees_averages = False
    calls_collectives = True

    def __init__(self, data: str = "train", every: Schedule | str = "1 epoch") -> None:
        super().__init__(data, every)
        self.logs = (f"offline/{data}",)

    def process_batch(self, run: Run, batch: Any) -> torch.Tensor:
        """Weighted loss and weight of the batch, shape `(1, 2)`, in double precision."""
        with run.discarding():
            output = as_output(run.steps.evaluation_step(run, batch))
        given = samples_in(batch) if output.weight is None else output.weight
        loss = output.loss.to(exact_dtype(output.loss.device))
        weight = torch.as_tensor(given).to(loss)
        return torch.stack((loss * weight, weight))[None]

    def process_results(self, run: Run, results: Any) -> None:
        """The mean over all samples, logged."""
        total, weight = results.sum(0).tolist()
        run.log(f"offline/{self.data}", total / weight, weight=1.0)
