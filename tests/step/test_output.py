"""What the step returned is in reach of the backward hooks, and is not kept beyond them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trackside import Callback, Run
from trackside.step.output import compare, joined, predict
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


class Both(nn.Module):
    """A model of two inputs."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


ONES = torch.ones(2, 1)


def test_inputs_in_a_tuple_are_one_argument_and_a_refusal_of_the_model_says_so() -> None:
    with pytest.raises(TypeError) as info:
        compare(Both(), nn.functional.mse_loss, ((ONES, ONES), ONES))
    assert "give a mapping by their names" in info.value.__notes__[0]
    assert compare(nn.Identity(), lambda p, t: t.mean(), ((ONES, ONES), ONES)).loss == 1


def test_inputs_by_name_are_predicted_as_they_are_trained() -> None:
    batch = ({"a": ONES, "b": ONES}, ONES)
    assert compare(Both(), nn.functional.mse_loss, batch).prediction.equal(2 * ONES)
    assert predict(Both(), batch).equal(2 * ONES)
