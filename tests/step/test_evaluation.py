"""A pass over named data counts each sample once and leaves training as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trackside.callbacks import EMA, SWA, Evaluate
from trackside.errors import UnknownDataError
from trackside.lifecycle.hooks import Callback
from trackside.run import Evaluation, Run
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


class Seen(Callback):
    """The weights that evaluations of `val` see."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []

    def on_evaluation_start(self, run: Run, evaluation: Evaluation) -> None:
        if evaluation.name == "val":
            self.weights.append(flat(run.model))

    def on_evaluation_batch_end(
        self, run: Run, evaluation: Evaluation, batch: Any, output: Any
    ) -> None:
        if evaluation.name == "val":
            self.weights[-1] = flat(run.model)


class CollectWeights(EvaluationCallback):
    def __init__(self, *, sees_averages: bool = True) -> None:
        super().__init__("val", "1 epoch")
        self.weights: list[Tensor] = []
        self.raw: list[Tensor] = []
        self.sees_averages = sees_averages  # type: ignore[misc]

    def on_due(self, run: Run) -> None:
        self.raw.append(flat(run.model))
        super().on_due(run)
        assert torch.equal(flat(run.model), self.raw[-1])

    def process_batch(self, run: Run, batch: Any) -> Tensor:
        self.newest = flat(run.model)
        return torch.zeros(len(batch[1]))

    def process_results(self, run: Run, results: Any) -> None:
        self.weights.append(self.newest)


def flat(model: nn.Module) -> Tensor:
    return torch.cat([value.double().flatten() for value in model.state_dict().values()])


def same(some: list[Tensor], others: list[Tensor]) -> list[bool]:
    return [torch.equal(one, other) for one, other in zip(some, others, strict=True)]


@pytest.mark.parametrize(
    "averaging",
    [
        lambda: [EMA(0.5)],
        lambda: [EMA(0.5), SWA("1 epoch")],
        lambda: [EMA(0.5), Evaluate("val", average=False)],
        lambda: [EMA(0.5, evaluate=False), Evaluate("val", average="ema")],
        lambda: [EMA(0.5), Evaluate("val", record_as="other", average=False)],
        lambda: [SWA("1 epoch", evaluate=False)],
    ],
)
def test_a_pass_sees_the_weights_that_an_evaluation_of_the_data_sees(averaging: Any) -> None:
    task, seen, collect = tiny_classification(), Seen(), CollectWeights()
    task.trainer(callbacks=[*averaging(), seen, collect]).fit(task.train, task.validation, epochs=3)

    assert same(seen.weights, collect.weights) == [True] * 3


def test_in_a_call_of_evaluate_a_pass_sees_the_averages_too() -> None:
    task, seen, collect = tiny_classification(), Seen(), CollectWeights()
    trainer = task.trainer(callbacks=[EMA(0.5), seen, collect])
    trainer.fit(task.train, epochs=1, data={"val": task.validation})
    trainer.evaluate(task.validation, name="val")

    assert torch.equal(seen.weights[-1], collect.weights[-1])
    assert not torch.equal(collect.weights[-1], flat(task.model))


def test_a_pass_may_see_the_weights_as_they_are() -> None:
    task, collect = tiny_classification(), CollectWeights(sees_averages=False)
    task.trainer(callbacks=[EMA(0.5), collect]).fit(task.train, task.validation, epochs=2)

    assert same(collect.weights, collect.raw) == [True] * 2


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
