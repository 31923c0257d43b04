from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trackside import Settings, Trainer
from trackside.callbacks.evaluation.confusion_matrix import ConfusionMatrix, confusion
from trackside.testing import tiny_classification, tiny_regression


def test_pairs_of_classes_are_counted() -> None:
    target, prediction = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 2, 1, 2])
    assert confusion(target, prediction, 3).tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


def test_counts_and_recalls_agree_with_the_accuracy(tmp_path: Path) -> None:
    task = tiny_classification()
    matrix = ConfusionMatrix(classes=["a", "b", "c"])
    trainer = task.trainer(callbacks=[matrix], settings=Settings(directory=tmp_path))
    history = trainer.fit(task.train, task.validation, epochs=1).history

    assert matrix.matrix is not None
    right, all_samples = matrix.matrix.trace().item(), matrix.matrix.sum().item()
    assert right / all_samples == pytest.approx(history.latest("val/accuracy"))
    recall = matrix.matrix[0, 0] / matrix.matrix[0].sum()
    assert history.latest("recall/val/a") == pytest.approx(recall.item())
    lines = (tmp_path / "confusion" / "val.csv").read_text().splitlines()
    assert lines[0] == "true \\ predicted,a,b,c"


def test_predictions_that_are_no_scores_are_told(caplog: pytest.LogCaptureFixture) -> None:
    task = tiny_regression()
    result = task.trainer(callbacks=[ConfusionMatrix()]).fit(task.train, task.validation, epochs=1)

    assert result.failed_callbacks == {"confusion_matrix": 1}
    assert "confusion matrix can't be made of these targets" in caplog.text


def test_predictions_of_another_shape_are_told(caplog: pytest.LogCaptureFixture) -> None:
    task = tiny_classification()
    trainer = Trainer(
        nn.Sequential(task.model, nn.Unflatten(1, (3, 1))),
        loss=lambda scores, target: task.loss(scores.squeeze(2), target),
        optimizer=task.optimizer,
        callbacks=[ConfusionMatrix()],
    )
    result = trainer.fit(task.train, task.validation, epochs=1)

    assert result.failed_callbacks == {"confusion_matrix": 1}
    assert "a logit per sample" in caplog.text


@pytest.mark.parametrize("shape", ["(B)", "(B, 1)"])
@pytest.mark.parametrize("kind", [torch.long, torch.float])
def test_a_single_logit_is_of_class_1_where_it_is_positive(shape: str, kind: torch.dtype) -> None:
    inputs = torch.tensor([[-2.0], [-1.0], [3.0], [4.0], [5.0]])
    target = torch.tensor([0, 1, 0, 1, 1], dtype=kind)
    data = DataLoader(TensorDataset(inputs, target), 2)
    model = nn.Identity() if shape == "(B, 1)" else nn.Flatten(0)
    matrix = ConfusionMatrix("test")
    Trainer(
        model, loss=lambda logits, target: logits.sum() * 0, callbacks=[matrix], defaults=False
    ).evaluate(data)

    assert matrix.matrix is not None
    assert matrix.matrix.tolist() == [[1, 1], [1, 2]]


def test_classes_may_be_named_by_numbers() -> None:
    assert ConfusionMatrix(classes=[0, 1]).classes == ("0", "1")


def test_an_evaluation_alone_is_counted_where_it_has_the_name_of_the_data(tmp_path: Path) -> None:
    task = tiny_classification()
    matrix, another = ConfusionMatrix("test"), ConfusionMatrix("val")
    another.name = "another"
    trainer = task.trainer(callbacks=[matrix, another], settings=Settings(directory=tmp_path))
    trainer.evaluate(task.validation, name="test")

    assert matrix.matrix is not None
    assert another.matrix is None
    assert matrix.matrix.sum() == len(task.validation.dataset)  # type: ignore[arg-type]
    assert (tmp_path / "confusion" / "test.csv").is_file()
