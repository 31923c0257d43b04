"""Targets of another shape than the prediction: told where the loss spreads them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from trackside import Settings, Trainer
from trackside.step.broadcasting import tell_broadcast

TOLD = "compares each prediction with each target"


def squared(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).square().mean()


def squeezed(prediction: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(prediction.squeeze(-1), target)


SPREAD: Mapping[str, Any] = {
    "MSELoss": nn.MSELoss(),
    "L1Loss": nn.L1Loss(),
    "SmoothL1Loss": nn.SmoothL1Loss(),
    "HuberLoss": nn.HuberLoss(),
    "PoissonNLLLoss": nn.PoissonNLLLoss(),
    "mse_loss": functional.mse_loss,
    "a function": squared,
}


def heard(loss: Callable[..., Any], prediction: Tensor, target: Tensor, caplog: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch's own, without the way out
        tell_broadcast(loss, prediction, target)
    return str(caplog.text)


@pytest.mark.parametrize("shape", [(8, 1), (1, 8)])
@pytest.mark.parametrize("name", SPREAD)
def test_a_loss_that_spreads_the_target_is_told_of(
    name: str, shape: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    values = torch.arange(8.0)
    text = heard(SPREAD[name], values.flip(0).reshape(shape), values, caplog)
    if shape == (8, 1):
        assert TOLD in text
        assert "`target.unsqueeze(-1)`" in text
    else:
        assert text == ""


QUIET: Mapping[str, tuple[Callable[..., Any], tuple[int, ...], Tensor]] = {
    "equal shapes": (nn.MSELoss(), (8, 1), torch.rand(8, 1)),
    "it squeezes by itself": (squeezed, (8, 1), torch.rand(8)),
    "class numbers": (nn.CrossEntropyLoss(), (8, 3), torch.zeros(8, dtype=torch.long)),
    "another number of values": (squared, (8, 3), torch.rand(8, 1)),
    "it needs its shapes": (lambda p, t: p[:, 0].mean() + t.mean(), (8, 1), torch.rand(8)),
}


@pytest.mark.parametrize("name", QUIET)
def test_a_loss_that_knows_its_shapes_is_left_alone(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    loss, shape, target = QUIET[name]
    assert heard(loss, torch.rand(shape), target, caplog) == ""


@pytest.mark.parametrize("batches", ["pairs", "mappings"])
def test_a_run_tells_once_with_its_first_batch(
    batches: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.layer(x)
            return found

    inputs, target = torch.randn(8, 2), torch.arange(8.0)
    pairs = TensorDataset(inputs, target)
    mappings = [{"x": inputs[:4], "target": target[:4]}, {"x": inputs[4:], "target": target[4:]}]
    trainer = Trainer(
        Named(),
        loss=squared,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01),
        defaults=False,
        settings=Settings(directory="run"),
    )
    if batches == "pairs":
        trainer.fit(pairs, epochs=2, batch_size=4)
    else:
        trainer.fit(mappings, epochs=2)
    assert caplog.text.count(TOLD) == 1
