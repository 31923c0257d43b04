from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trackside import Settings, Trainer
from trackside.callbacks import Checkpoint
from trackside.callbacks.augmentation.mix_up import MixUp
from trackside.errors import ConfigurationError
from trackside.testing import tiny_classification, tiny_regression


def test_training_is_that_of_a_loop_by_hand() -> None:
    task, own = tiny_classification(), tiny_classification()
    batches = [tuple(batch) for batch in task.train]
    task.trainer(callbacks=[MixUp(classes=3, alpha=0.4)]).fit(batches, epochs=2)

    torch.manual_seed(0)
    optimizer = own.optimizer(own.model.parameters())
    own.model.train()
    for number, (inputs, target) in enumerate(batches * 2):
        drawn = np.random.default_rng(np.random.SeedSequence((0, number, 0)))
        drawn.random()
        share = drawn.beta(0.4, 0.4)
        order = torch.from_numpy(drawn.permutation(len(inputs)))
        soft = torch.nn.functional.one_hot(target, 3).float()
        new = inputs * share + inputs[order] * (1 - share)
        loss = own.loss(own.model(new), soft * share + soft[order] * (1 - share))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(task.weights, own.weights)


def test_a_resumed_run_draws_as_an_unbroken_one(tmp_path: Path) -> None:
    def fit(folder: str, *lengths: int) -> torch.Tensor:
        for steps in lengths:
            task = tiny_classification()
            trainer = task.trainer(
                callbacks=[MixUp(classes=3, probability=0.7), Checkpoint("1 step")],
                settings=Settings(directory=tmp_path / folder),
            )
            trainer.fit(task.train, steps=steps, resume="auto")
        return task.weights

    assert torch.equal(fit("broken", 2, 5), fit("whole", 5))


def test_some_batches_stay_as_they_are() -> None:
    task, plain = tiny_classification(), tiny_classification()
    task.trainer(callbacks=[MixUp(classes=3, probability=1e-9)]).fit(task.train, epochs=1)
    plain.trainer().fit(plain.train, epochs=1)

    assert torch.equal(task.weights, plain.weights)


def test_a_loss_for_numbers_alone_is_refused_before_the_first_step() -> None:
    task = tiny_regression()
    trainer = task.trainer(callbacks=[MixUp(classes=3)], loss=torch.nn.NLLLoss())

    with pytest.raises(ConfigurationError, match="the loss doesn't take them"):
        trainer.fit(task.train, steps=1)


@pytest.mark.parametrize(
    "options", [{"classes": 1}, {"alpha": 0}, {"probability": 0}, {"probability": 1.5}]
)
def test_an_option_out_of_its_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        MixUp(**{"classes": 3, **options})


def test_an_error_of_the_loss_names_the_classes_that_the_model_has() -> None:
    task = tiny_classification()
    with pytest.raises(RuntimeError) as caught:
        task.trainer(callbacks=[MixUp(classes=5)]).fit(task.train, steps=1)

    note = (
        "`MixUp(classes=5)` made targets of 5 classes, and the model has 3 scores for each sample"
    )
    assert any(note in one for one in caught.value.__notes__)


def test_another_error_says_nothing_of_classes() -> None:
    class Broken(torch.nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            raise ValueError("broken")

    task = tiny_classification()
    trainer = Trainer(
        Broken(2, 3), loss=task.loss, optimizer=task.optimizer, callbacks=[MixUp(classes=3)]
    )
    with pytest.raises(ValueError, match="broken") as caught:
        trainer.fit(task.train, steps=1)

    assert "classes" not in "".join(caught.value.__notes__)
