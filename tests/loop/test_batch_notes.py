"""An error of a step says what the batch was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from trackside import Callback, Trainer, on
from trackside.errors import DataError

SOUND = (torch.zeros(8, 2), torch.zeros(8, 1))


def notes(
    train: Any, validation: Any = None, loss: Any = nn.functional.mse_loss, *callbacks: Any
) -> list[str]:
    """The notes of the error with which a run ends."""
    trainer = Trainer(
        lambda: nn.Linear(2, 1),
        loss=loss,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        callbacks=list(callbacks),
        seed=0,
    )
    with pytest.raises(Exception) as caught:
        trainer.fit(train, validation, epochs=1, batch_size=4)
    return getattr(caught.value, "__notes__", [])


def test_types_and_shapes_of_the_batch_are_noted() -> None:
    assert notes((torch.zeros(8, 3), torch.zeros(8, 1))) == [
        "`training_step` got the batch list(float32 (4, 3), float32 (4, 1))"
    ]


def test_another_type_than_the_parameters_have_is_noted() -> None:
    assert notes((torch.zeros(8, 2, dtype=torch.float64), torch.zeros(8, 1).double())) == [
        "`training_step` got the batch list(float64 (4, 2), float64 (4, 1)); "
        "the model's parameters are float32"
    ]


def test_the_batch_of_an_evaluation_is_noted_too() -> None:
    (note,) = notes(SOUND, (torch.zeros(8, 5), torch.zeros(8, 1)))
    assert note == "`evaluation_step` got the batch list(float32 (4, 5), float32 (4, 1))"


def test_an_error_of_ours_says_by_itself_what_it_received() -> None:
    def refuses(prediction: Any, target: Any) -> Any:
        raise DataError("no")

    assert notes(SOUND, loss=refuses) == []


def test_an_error_of_a_callback_is_not_blamed_on_the_batch() -> None:
    @on(Callback.on_batch_end)
    def fails(run: Any, batch: Any, output: Any) -> None:
        raise ValueError("mine")

    assert "training_step" not in "".join(notes(SOUND, None, nn.functional.mse_loss, fails))
