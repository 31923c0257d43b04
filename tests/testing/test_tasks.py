"""Tiny tasks train, the same way each time, and touch no generator of the program."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from trackside.testing import Task, tiny_classification, tiny_regression

TASKS = [tiny_regression, tiny_classification]


@pytest.mark.parametrize("make", TASKS)
def test_a_task_learns(make: Callable[[], Task]) -> None:
    task = make()
    result = task.trainer().fit(task.train, task.validation, epochs=10)

    losses = result.history.values("val/loss")
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("make", TASKS)
def test_a_task_trains_the_same_way_each_time(make: Callable[[], Task]) -> None:
    weights = []
    for _ in range(2):
        task = make()
        task.trainer().fit(task.train, task.validation, epochs=2)
        weights.append(task.weights)

    assert torch.equal(*weights)


@pytest.mark.parametrize("make", TASKS)
def test_making_a_task_leaves_the_generator_alone(make: Callable[[], Task]) -> None:
    before = torch.get_rng_state()
    make()

    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("make", TASKS)
def test_the_last_batches_are_ragged(make: Callable[[], Task]) -> None:
    task = make()
    for loader in (task.train, task.validation):
        sizes = [len(inputs) for inputs, _ in loader]
        assert sizes[-1] < sizes[0]
