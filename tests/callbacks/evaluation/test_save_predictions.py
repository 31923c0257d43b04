from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from trackside import Settings, Trainer
from trackside.callbacks.evaluation.save_predictions import SavePredictions
from trackside.errors import ConfigurationError, DataError
from trackside.run import Run
from trackside.testing import tiny_classification, tiny_regression
from trackside.testing.tasks import tiny_rows


@pytest.mark.parametrize("file_format", ["npz", "parquet"])
def test_the_file_holds_predictions_and_targets_in_data_set_order(
    tmp_path: Path, file_format: str
) -> None:
    task = tiny_classification()
    save = SavePredictions("val", file_format=file_format)  # type: ignore[arg-type]
    trainer = task.trainer(callbacks=[save], settings=Settings(directory=tmp_path))
    trainer.fit(task.train, task.validation, epochs=1)

    assert save.last is not None
    if file_format == "npz":
        found = np.load(save.last)
    else:
        table = pytest.importorskip("pyarrow.parquet").read_table(save.last)
        found = {name: np.array(table[name].to_pylist()) for name in table.column_names}
    expected = trainer.predict(task.validation)
    np.testing.assert_allclose(found["prediction"], expected.numpy(), rtol=1e-6)
    targets = torch.cat([target for _, target in task.validation])
    np.testing.assert_array_equal(found["target"], targets.numpy())


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="can't be saved as 'csv'"):
        SavePredictions(file_format="csv")  # type: ignore[arg-type]


class Padded(nn.Module):
    """Predictions as long as the batch is large: of another shape where the last is ragged."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1].repeat(1, len(x))


def test_predictions_of_different_shapes_are_numbered_by_their_batch(tmp_path: Path) -> None:
    task, save = tiny_regression(), SavePredictions("val")
    trainer = Trainer(
        nn.Sequential(task.model, Padded()),
        loss=lambda prediction, target: (prediction[:, :1] - target).pow(2).mean(),
        optimizer=task.optimizer,
        callbacks=[save],
        settings=Settings(directory=tmp_path),
        defaults=False,
    )
    trainer.fit(task.train, task.validation, epochs=1)
    assert save.last is not None
    kept = {name: array.shape for name, array in np.load(save.last).items()}
    assert kept == {"prediction.0": (4, 4), "prediction.1": (1, 1), "target": (5, 1)}


def test_a_target_of_the_prediction_is_kept_beside_that_of_the_batch(tmp_path: Path) -> None:
    class Teaching(Trainer):
        def predict_step(self, run: Run, batch: Any) -> Any:
            return {"target": torch.full((len(batch[0]),), 7)}

    task, save = tiny_classification(), SavePredictions("val", folder=Path("here"))
    trainer = Teaching(
        task.model,
        loss=task.loss,
        optimizer=task.optimizer,
        callbacks=[save],
        settings=Settings(directory=tmp_path),
    )
    trainer.fit(task.train, task.validation, epochs=1)

    assert save.last is not None
    assert save.last.parent == tmp_path / "here"
    found = np.load(save.last)
    targets = torch.cat([target for _, target in task.validation])
    np.testing.assert_array_equal(found["target"], targets.numpy())
    assert set(found["prediction.target"].tolist()) == {7}


def test_a_prediction_that_no_file_can_hold_ends_the_run_at_its_first_batch() -> None:
    class Odd(Trainer):
        def predict_step(self, run: Any, batch: Any) -> Any:
            return object()

    task = tiny_regression()
    odd = Odd(task.model, defaults=False, callbacks=[SavePredictions("predict")])
    with pytest.raises(DataError, match="can't be written"):
        odd.predict(task.validation)


def test_a_second_prediction_into_the_same_folder_leaves_the_first_alone(tmp_path: Path) -> None:
    task, save = tiny_regression(), SavePredictions("predict", folder="made/here")
    trainer = task.trainer(callbacks=[save], settings=Settings(directory=tmp_path))
    trainer.predict(task.validation)
    trainer.predict(DataLoader(tiny_rows(), 4))
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.npz")}
    names = [f"{number:09d}.npz" for number in range(2)]
    assert found == {
        f"made/here/{folder}/{n}" for folder in ("predict", "predict-2") for n in names
    }


def test_a_writer_of_predictions_leaves_training_alone() -> None:
    task = tiny_regression()
    trainer = task.trainer(callbacks=[SavePredictions("predict")])
    assert trainer.fit(task.train, task.validation, epochs=1).outcome.status == "completed"
    assert not any(Path().rglob("*.npz"))


LOADERS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "in order": ({}, ""),
    "shuffled": ({"shuffle": True}, "prediction i is not that of sample i"),
    "last left out": ({"drop_last": True}, "leaves out 1 of the 5 samples"),
    "backwards": ({"sampler": [4, 3, 2, 1, 0]}, "prediction i is not that of sample i"),
}


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_in_another_order_than_its_data_is_told_of_once(
    name: str, fast: bool, caplog: pytest.LogCaptureFixture
) -> None:
    task, (options, says) = tiny_regression(), LOADERS[name]
    data: Any = task.validation.dataset
    data = data if fast else list(data)
    trainer = task.trainer(callbacks=[SavePredictions("val")], settings=Settings(directory="run"))
    trainer.fit(task.train, DataLoader(data, batch_size=2, **options), epochs=2)
    told = [
        record.message for record in caplog.records if "the loader of the data" in record.message
    ]
    assert [says in one for one in told] == [True] * bool(says)
