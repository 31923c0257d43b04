"""What the step returned is in reach of the backward hooks, and is not kept beyond them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trackside import Callback, Run
from trackside.step.output import joined
from trackside.testing import tiny_regression


class Outputs(Callback[Run]):
    """Notes what the run says of the step's output, hook by hook."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    def on_batch_start(self, run: Run, batch: Any) -> None:
        self.seen["before"] = run.output

    def on_backward_start(self, run: Run, loss: Tensor) -> None:
        self.seen["start"] = run.output

    def on_backward_end(self, run: Run, loss: Tensor) -> None:
        self.seen["end"] = run.output

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        self.seen["returned"] = output
        self.seen["after"] = run.output


def test_what_the_step_returned_is_there_during_the_backward_pass_only() -> None:
    outputs = Outputs()
    task = tiny_regression()
    task.trainer(callbacks=[outputs]).fit(task.train, steps=1)

    assert outputs.seen["start"] is outputs.seen["end"] is outputs.seen["returned"]
    assert outputs.seen["before"] is outputs.seen["after"] is None


@pytest.mark.parametrize("name", [None, "logits"])
def test_outputs_of_different_length_are_a_list_over_batches(name: str | None) -> None:
    ragged = [torch.zeros(2, 3), torch.ones(2, 5)]
    made = ragged if name is None else [{name: part} for part in ragged]
    together = joined(made)
    assert (together if name is None else together[name]) == ragged
