"""Metrics of torchmetrics on several ranks give what they give in one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchmetrics
from torch import Tensor

from tests.simulated_ranks import SimulatedRanks
from trackside import ConfigurationError, World
from trackside.step.metric_states import over_ranks

GENERATOR = torch.Generator().manual_seed(0)
PREDICTION = torch.rand(20, generator=GENERATOR)
TARGET = (torch.rand(20, generator=GENERATOR) > 0.4).long()


class Keep(torchmetrics.Metric):
    """A list of tensors that nobody joins, as `MeanAveragePrecision` has."""

    items: list[Tensor]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("items", default=[], dist_reduce_fx=None)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.items.append((prediction > 0.5) == target)

    def compute(self) -> Tensor:
        return torch.cat(self.items).float().mean()


class RunningMean(torchmetrics.Metric):
    """A state that is a mean over updates."""

    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("value", default=torch.tensor(0.0), dist_reduce_fx="mean")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.value += (prediction.mean() - self.value) / self.update_count

    def compute(self) -> Tensor:
        return self.value


class Newest(torchmetrics.Metric):
    """A tensor that nobody reduces, of one dimension more with each rank that has it."""

    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("value", default=torch.tensor(0.0), dist_reduce_fx=None)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.value = prediction.mean()

    def compute(self) -> Tensor:
        return torch.tensor(float(self.value.ndim))


class OtherShapes(torchmetrics.Metric):
    """A state that grows, and is no list."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("seen", default=torch.zeros(0), dist_reduce_fx="cat")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.seen = torch.cat([self.seen, prediction])

    def compute(self) -> Tensor:
        return self.seen.mean()


KINDS: dict[str, Callable[[], torchmetrics.Metric | torchmetrics.MetricCollection]] = {
    "sums": lambda: torchmetrics.Accuracy(task="binary"),
    "joined lists": lambda: torchmetrics.AUROC(task="binary"),
    "lists as they are": Keep,
    "tensors as they are": torchmetrics.PearsonCorrCoef,
    "the largest": torchmetrics.MaxMetric,
    "means": RunningMean,
    "curves": lambda: torchmetrics.PrecisionRecallCurve(task="binary", thresholds=None),
    "a composition": lambda: torchmetrics.Accuracy(task="binary") * 2,
    "inside of another": lambda: torchmetrics.MinMaxMetric(torchmetrics.Accuracy(task="binary")),
    "a collection with groups": lambda: torchmetrics.MetricCollection(
        {
            "precision": torchmetrics.Precision(task="binary"),
            "recall": torchmetrics.Recall(task="binary"),
            "auroc": torchmetrics.AUROC(task="binary"),
        }
    ),
}
SHARES = {
    "three batches": [[0, 2], [1]],
    "one batch": [[0], []],
    "none in between": [[0], [], [1, 2]],
}
"""Batches of each rank."""


def update(metric: Any, batches: list[int]) -> None:
    for number in batches:
        rows = slice(7 * number, 7 * number + 7)
        if isinstance(metric, torchmetrics.MaxMetric):
            metric.update(PREDICTION[rows])
        elif isinstance(metric, torchmetrics.PearsonCorrCoef):
            metric.update(PREDICTION[rows], TARGET[rows].float())
        else:
            metric.update(PREDICTION[rows], TARGET[rows])


def flat(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [n for key in sorted(value) for n in flat(value[key])]
    if isinstance(value, tuple):
        return [n for part in value for n in flat(part)]
    return [float(n) for n in value.flatten()]


@pytest.mark.filterwarnings("error:The ``compute`` method")
@pytest.mark.parametrize("shares", SHARES.values(), ids=SHARES.keys())
@pytest.mark.parametrize("kind", KINDS)
def test_every_rank_computes_what_one_process_computes(kind: str, shares: list[list[int]]) -> None:
    def program(world: World) -> list[float]:
        metric = KINDS[kind]()
        update(metric, shares[world.rank])
        with over_ranks(world, {"it": metric}):
            return flat(metric.compute())

    one = KINDS[kind]()
    # In the order of ranks: curves and lists keep it.
    update(one, [number for share in shares for number in share])
    expected = flat(one.compute())
    for found in SimulatedRanks(len(shares)).run(program):
        assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_each_rank_has_its_own_state_again() -> None:
    def program(world: World) -> int:
        metric = Keep()
        update(metric, [0, 1] if world.rank else [])
        with over_ranks(world, {"it": metric}):
            assert len(metric.items) == 2
        return len(metric.items)

    assert SimulatedRanks(2).run(program) == [0, 2]


def test_a_metric_that_gathers_by_itself_is_left_alone() -> None:
    def program(world: World) -> int:
        metric = Keep(sync_on_compute=False)
        update(metric, [world.rank])
        with over_ranks(world, {"it": metric}):
            return len(metric.items)

    assert SimulatedRanks(2).run(program) == [1, 1]


def test_states_of_other_shapes_are_refused_by_the_metric_s_name() -> None:
    def program(world: World) -> None:
        metric = OtherShapes()
        update(metric, [0, 1] if world.rank else [2])
        with over_ranks(world, {"growing": metric}):
            pass

    with pytest.raises(ConfigurationError, match="other shapes in the metric 'growing'"):
        SimulatedRanks(2).run(program)


def test_the_state_of_the_only_rank_with_a_batch_is_that_of_one_process() -> None:
    def program(world: World) -> float:
        metric = Newest()
        update(metric, [] if world.rank else [0])
        with over_ranks(world, {"it": metric}):
            return float(metric.compute())

    assert SimulatedRanks(2).run(program) == [0.0, 0.0]
