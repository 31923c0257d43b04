"""A pass over named data counts each sample once and leaves training as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trackside.errors import UnknownDataError
from trackside.run import Run
from trackside.step.evaluation import EvaluationCallback
from trackside.testing import tiny_classification


class Collect(EvaluationCallback):
    def __init__(self, data: str = "val", every: str = "2 steps") -> None:
        super().__init__(data, every)
        self.passes: list[dict[str, Tensor]] = []

    def process_batch(self, run: Run, batch: Any) -> dict[str, Tensor]:
        assert not run.model.training
        assert not torch.is_grad_enabled()
        torch.rand(3)  # random augmentation must not reach training
        return {"score": run.model(batch[0]), "target": batch[1]}

    def process_results(self, run: Run, results: Any) -> None:
        self.passes.append(results)


def test_results_are_those_of_the_whole_data_set_in_its_order() -> None:
    task = tiny_classification()
    collect = Collect()
    task.trainer(callbacks=[collect]).fit(task.train, task.validation, epochs=2)

    targets = torch.cat([target for _, target in task.validation])
    assert len(collect.passes) == 3
    for results in collect.passes:
        assert torch.equal(results["target"], targets)
        assert len(results["score"]) == len(targets)


@pytest.mark.parametrize("data", ["val", "train"])
def test_training_is_bitwise_what_it_is_without_the_pass(data: str) -> None:
    plain = tiny_classification()
    plain.trainer().fit(plain.train, plain.validation, epochs=2)
    watched = tiny_classification()
    watched.trainer(callbacks=[Collect(data, "1 step")]).fit(
        watched.train, watched.validation, epochs=2
    )

    assert torch.equal(plain.weights, watched.weights)


def test_data_that_is_not_there_is_refused_before_the_first_step() -> None:
    task = tiny_classification()
    with pytest.raises(UnknownDataError, match="'vall' for 'collect'") as refused:
        task.trainer(callbacks=[Collect("vall")]).fit(task.train, task.validation, epochs=1)
    assert "did you mean `val`?" in str(refused.value)
