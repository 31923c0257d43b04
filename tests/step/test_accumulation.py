"""A step of several batches is the step over one big batch, whatever each of them weighs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import SGD

from trackside import Output, Run, Trainer
from trackside.step.accumulation import Parts

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=6)
GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(30, 3, generator=GENERATOR)
TARGETS = torch.randn(30, 1, generator=GENERATOR)


class Unsized:
    """Batches whose number nobody tells."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)


def model() -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(3, 1)


def trained(kind: type[Trainer], data: Any, accumulate: int, **options: Any) -> Tensor:
    trainer = kind(
        model,
        loss=nn.MSELoss(),
        optimizer=lambda p: SGD(p, lr=0.1),
        accumulate=accumulate,
        seed=0,
        defaults=False,
        **options,
    )
    trainer.fit(data, epochs=1)
    return trainer.models["model"].get_parameter("weight").detach().cpu()


def by_hand(weights: Tensor, sizes: list[int], accumulate: int) -> Tensor:
    """Each step is one batch of all its samples, and its loss their weighted mean."""
    network = model()
    for start in range(0, len(sizes), accumulate):
        first, last = sum(sizes[:start]), sum(sizes[: start + accumulate])
        apart = (network(INPUTS[first:last]) - TARGETS[first:last]).square()[:, 0]
        (apart * weights[first:last]).sum().div(weights[first:last].sum()).backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.sub_(0.1 * parameter.grad)  # type: ignore[operator]
                parameter.grad = None
    return network.weight.detach().cpu()


class Weighted(Trainer):
    """The third part of a batch says what each sample weighs: tokens, say."""

    def training_step(self, run: Run, batch: Any) -> Output:
        inputs, targets, weights = batch
        apart = (run.model(inputs) - targets).square()[:, 0]
        total = weights.sum()
        return Output((apart * weights).sum() / total.clamp(min=1), weight=total)


class WeightedOnTheHost(Weighted):
    def training_step(self, run: Run, batch: Any) -> Output:
        output = super().training_step(run, batch)
        return output._replace(weight=float(output.weight))  # type: ignore[arg-type]


@settings(max_examples=15, deadline=None)
@given(sizes=SIZES, accumulate=st.integers(2, 4), sized=st.booleans())
def test_batches_of_any_sizes_are_weighed_by_samples(
    sizes: list[int], accumulate: int, sized: bool
) -> None:
    inputs, targets = INPUTS[: sum(sizes)].split(sizes), TARGETS[: sum(sizes)].split(sizes)
    batches = list(zip(inputs, targets, strict=True))
    mine = trained(Trainer, batches if sized else Unsized(batches), accumulate)
    torch.testing.assert_close(mine, by_hand(torch.ones(30), sizes, accumulate))


@pytest.mark.parametrize("kind", [Weighted, WeightedOnTheHost])
@settings(max_examples=10, deadline=None)
@given(sizes=SIZES, tokens=st.lists(st.integers(0, 9), min_size=30, max_size=30))
def test_batches_are_weighed_by_what_the_step_says(
    kind: type[Trainer], sizes: list[int], tokens: list[int]
) -> None:
    tokens[-1] = tokens[0] = 1
    weights = torch.tensor(tokens, dtype=torch.float32)
    parts = [tensor[: sum(sizes)].split(sizes) for tensor in (INPUTS, TARGETS, weights)]
    mine = trained(kind, list(zip(*parts, strict=True)), 6)
    torch.testing.assert_close(mine, by_hand(weights, sizes, 6))


@pytest.mark.parametrize("kind", [Weighted, WeightedOnTheHost])
def test_a_first_batch_that_weighs_nothing_counts_for_nothing(kind: type[Trainer]) -> None:
    weights = torch.tensor([0.0, 0.0, 2.0, 1.0])
    batches = list(zip(*(t.split(2) for t in (INPUTS[:4], TARGETS[:4], weights)), strict=True))
    torch.testing.assert_close(trained(kind, batches, 2), by_hand(weights, [2, 2], 2))


def test_equal_batches_are_shared_out_without_a_second_pass_over_the_gradients() -> None:
    parameter = nn.Parameter(torch.ones(1))
    parts = Parts(3)
    for _ in range(3):
        parts.scale(parameter.sum(), 4).backward()
    before = parameter.grad._version  # type: ignore[union-attr]
    parts.finish([parameter])
    assert parameter.grad._version == before  # type: ignore[union-attr]


def test_a_parameter_that_comes_twice_is_put_right_once() -> None:
    parameter = nn.Parameter(torch.ones(1))
    parts = Parts(2)
    for weight in (1, 3):
        parts.scale(parameter.sum(), weight).backward()
    parts.finish([parameter, parameter])
    torch.testing.assert_close(parameter.grad, torch.ones(1))


class Padded(Trainer):
    """Labels of -100 count for nothing, as the page on training has it."""

    def training_step(self, run: Run, batch: Any) -> Output:
        inputs, labels = batch
        loss = nn.functional.cross_entropy(run.model(inputs), labels)
        return Output(loss, weight=(labels != -100).sum())


@pytest.mark.parametrize("sizes", [[2, 4], [3, 3], [1, 4, 1]])
def test_a_step_over_padded_batches_is_that_over_all_their_tokens(sizes: list[int]) -> None:
    labels = torch.tensor([0, -100, 1, 1, -100, 0])

    def fitted(parts: list[int]) -> Any:
        trainer = Padded(
            lambda: nn.Linear(3, 2),
            optimizer=lambda p: SGD(p, lr=0.1),
            accumulate=len(parts),
            seed=0,
            defaults=False,
        )
        batches = list(zip(INPUTS[:6].split(parts), labels.split(parts), strict=True))
        result = trainer.fit(batches, epochs=1)
        return trainer.models["model"].get_parameter("weight"), result.history

    (weight, history), (whole, expected) = fitted(sizes), fitted([6])
    torch.testing.assert_close(weight, whole)
    assert history.latest("train/loss") == pytest.approx(expected.latest("train/loss"))
