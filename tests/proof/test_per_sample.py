from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trackside.proof.per_sample import losses_of_samples, unreduced


def test_a_loss_of_torch_is_taken_apart_and_stays_as_it_is() -> None:
    loss = nn.CrossEntropyLoss()
    prediction, target = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    each = losses_of_samples(loss, prediction, target)
    assert each is not None
    assert each.shape == (5,)
    assert torch.allclose(each.mean(), loss(prediction, target))
    assert loss.reduction == "mean"


def test_a_function_with_a_reduction_is_taken_apart() -> None:
    prediction, target = torch.randn(5, 2), torch.randn(5, 2)
    each = losses_of_samples(functional.mse_loss, prediction, target)
    assert each is not None
    assert torch.allclose(each, (prediction - target).square().mean(1))


def test_any_other_loss_tells_of_no_sample() -> None:
    def own(prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).abs().mean()

    assert unreduced(own) is None
    assert losses_of_samples(own, torch.zeros(2), torch.zeros(2)) is None
    assert losses_of_samples(None, torch.zeros(2), torch.zeros(2)) is None


def test_a_loss_of_tokens_without_their_samples_is_not_guessed() -> None:
    tokens = nn.CrossEntropyLoss()
    assert losses_of_samples(tokens, torch.randn(6, 3), torch.tensor(1)) is None
