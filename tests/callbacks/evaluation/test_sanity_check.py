from __future__ import annotations

import pytest
import torch
from torch.utils.data import TensorDataset

from trackside.callbacks.evaluation.sanity_check import SanityCheck
from trackside.errors import ConfigurationError, NonFiniteError
from trackside.testing import tiny_regression


def test_a_broken_evaluation_is_found_before_the_first_step() -> None:
    task = tiny_regression()
    broken = TensorDataset(torch.full((4, 2), float("nan")), torch.zeros(4, 1))
    with pytest.raises(NonFiniteError, match="batch 1 of 'val' is nan before the first step"):
        task.trainer(callbacks=[SanityCheck()]).fit(task.train, broken, epochs=1)


def test_training_is_bitwise_what_it_is_without_the_check() -> None:
    plain, checked = tiny_regression(), tiny_regression()
    plain.trainer().fit(plain.train, plain.validation, epochs=2)
    checked.trainer(callbacks=[SanityCheck()]).fit(checked.train, checked.validation, epochs=2)

    assert torch.equal(plain.weights, checked.weights)


def test_no_batches_are_no_check() -> None:
    with pytest.raises(ConfigurationError, match="batches=0"):
        SanityCheck(batches=0)
