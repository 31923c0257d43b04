from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trackside.callbacks.augmentation.mixing import (
    Mixture,
    check_loss,
    draws,
    mixed,
    shares_of_classes,
)
from trackside.errors import ConfigurationError, DataError
from trackside.trainer.trainer import Trainer


def half(inputs: Tensor, partners: Tensor) -> Mixture:
    return Mixture(inputs * 0.75 + partners * 0.25, 0.75)


def backwards(count: int) -> Any:
    return torch.arange(count).flip(0).numpy()


def test_a_pair_is_mixed_as_by_hand() -> None:
    inputs, target = torch.tensor([[0.0], [4.0]]), torch.tensor([0, 2])

    new, soft = mixed((inputs, target), 3, half, backwards)

    assert new.tolist() == [[1.0], [3.0]]
    assert soft.tolist() == [[0.75, 0.0, 0.25], [0.25, 0.0, 0.75]]


def test_a_mapping_keeps_its_other_parts() -> None:
    batch = {"pixels": torch.ones(2, 1), "labels": torch.tensor([0, 1]), "names": ["a", "b"]}

    new = mixed(batch, 2, half, backwards)

    assert new["names"] == ["a", "b"]
    assert new["labels"].tolist() == [[0.75, 0.25], [0.25, 0.75]]


@pytest.mark.parametrize(
    "batch",
    [
        torch.ones(2),
        (torch.ones(2).long(), torch.tensor([0, 1])),
        {"a": torch.ones(2), "b": torch.ones(2), "label": torch.tensor([0, 1])},
    ],
)
def test_a_batch_of_another_form_is_refused(batch: Any) -> None:
    with pytest.raises(DataError, match="this batch can't be mixed"):
        mixed(batch, 2, half, backwards)


@pytest.mark.parametrize(
    "target", [torch.tensor([0, -100]), torch.tensor([0, 3]), torch.ones(2, 4)]
)
def test_targets_that_are_no_classes_are_refused(target: Tensor) -> None:
    with pytest.raises(DataError, match="these targets can't be mixed"):
        shares_of_classes(target, 3, torch.float32)


def of(loss: Any) -> Any:
    steps = SimpleNamespace(loss=loss, training_step=Trainer.training_step)
    return SimpleNamespace(steps=steps, device=torch.device("cpu"))


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(label_smoothing=0.1), nn.BCEWithLogitsLoss(), nn.MSELoss()]
)
def test_a_loss_of_shares_is_taken(loss: Any) -> None:
    check_loss(of(loss), 4, "MixUp")


@pytest.mark.parametrize(
    "loss",
    [
        nn.NLLLoss(),
        nn.MultiMarginLoss(),
        lambda scores, target: nn.functional.cross_entropy(scores, target.argmax(1)),
    ],
)
def test_a_loss_that_does_not_take_shares_is_refused(loss: Any) -> None:
    with pytest.raises(ConfigurationError, match="the loss doesn't take them"):
        check_loss(of(loss), 4, "MixUp")


def test_draws_follow_from_the_place_in_the_run() -> None:
    def drawn(batches: int, rank: int, seed: int = 0) -> float:
        progress = SimpleNamespace(batches_completed=batches)
        run: Any = SimpleNamespace(progress=progress, world=SimpleNamespace(rank=rank))
        return float(draws(seed, run).random())

    assert drawn(3, 0) == drawn(3, 0)
    assert len({drawn(3, 0), drawn(4, 0), drawn(3, 1), drawn(3, 0, seed=1)}) == 4
