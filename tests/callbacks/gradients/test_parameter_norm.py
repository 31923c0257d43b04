"""ParameterNorm logs how large the weights are."""

from __future__ import annotations

import pytest
import torch

from trackside.callbacks.gradients.parameter_norm import ParameterNorm
from trackside.errors import ConfigurationError
from trackside.testing import tiny_regression


def test_it_logs_the_norm_of_the_weights_as_they_are_when_due() -> None:
    task = tiny_regression()
    trainer = task.trainer(callbacks=[ParameterNorm("1 epoch", patterns=["bias"])])
    history = trainer.fit(task.train, epochs=2).history

    assert len(history.values("parameter/norm")) == 2
    assert history.latest("parameter/norm") == pytest.approx(task.weights.norm().item())
    bias = task.model.bias
    assert isinstance(bias, torch.Tensor)
    assert history.latest("parameter/norm/bias") == pytest.approx(bias.norm().item())


def test_frozen_weights_can_be_left_out() -> None:
    task = tiny_regression()
    bias = task.model.bias
    assert isinstance(bias, torch.Tensor)
    bias.requires_grad_(False)
    trainer = task.trainer(callbacks=[ParameterNorm("1 epoch", trainable_only=True)])
    history = trainer.fit(task.train, epochs=1).history

    weight = task.model.weight
    assert isinstance(weight, torch.Tensor)
    assert history.latest("parameter/norm") == pytest.approx(weight.norm().item())


def test_what_is_no_norm_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        ParameterNorm(norm_type=0.0)
