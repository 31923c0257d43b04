from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from tests.callbacks.pictures.scenes import Tracker, tiny_pictures
from trackside import Callback, Settings
from trackside.callbacks import EMA
from trackside.callbacks.pictures import prediction_images
from trackside.callbacks.pictures.prediction_images import PredictionImages
from trackside.callbacks.pictures.tiles import Sheet
from trackside.errors import ConfigurationError, UnknownDataError


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> list[Sheet]:
    """The sheets that were drawn."""
    found: list[Sheet] = []
    draw = prediction_images.__dict__["draw_sheet"]

    def also(figure: Any, sheet: Sheet) -> None:
        found.append(sheet)
        draw(figure, sheet)

    monkeypatch.setattr(prediction_images, "draw_sheet", also)
    return found


def fit(*callbacks: Callback, epochs: int = 2, **options: Any) -> Any:
    task = tiny_pictures()
    trainer = task.trainer(
        callbacks=callbacks, **{"settings": Settings(directory="run", device="cpu"), **options}
    )
    return trainer.fit(task.train, task.validation, epochs=epochs), task


def test_what_is_shown_is_what_the_trained_model_predicts(sheets: list[Sheet]) -> None:
    _, task = fit(PredictionImages(count=10))

    images, target = task.validation.dataset.tensors
    with torch.no_grad():
        chosen = task.model.eval()(images).argmax(1)
    tiles = [tile for row in sheets[-1].rows for tile in row]
    assert [int(tile.caption.split()[0]) for tile in tiles] == chosen.tolist()
    assert [tile.mood == "right" for tile in tiles] == (chosen == target).tolist()


def test_each_due_epoch_leaves_a_file_and_a_picture_under_its_step() -> None:
    tracker = Tracker()
    fit(tracker, PredictionImages("val"))

    files = sorted(Path("run/pictures/val/predictions").iterdir())
    assert [file.name for file in files] == ["step-0000000003.png", "step-0000000006.png"]
    assert tracker.names == ["val/predictions"] * 2
    assert [picture.path for _, picture in tracker.shown] == files


def test_averages_predict_where_they_are_asked_for(sheets: list[Sheet]) -> None:
    fit(EMA(decay=0.99999, warm_up=False), PredictionImages(count=10, average="ema"), epochs=3)

    task = tiny_pictures()  # averages that hardly move are still the first weights
    with torch.no_grad():
        chosen = task.model.eval()(task.validation.dataset.tensors[0]).argmax(1)  # type: ignore[attr-defined]
    tiles = [tile for row in sheets[-1].rows for tile in row]
    assert [int(tile.caption.split()[0]) for tile in tiles] == chosen.tolist()


def test_it_works_with_a_compiled_model(sheets: list[Sheet]) -> None:
    settings = Settings(directory="run", device="cpu", compile={"backend": "eager"})
    result, _ = fit(PredictionImages(count=3), settings=settings, epochs=1)

    assert len(sheets) == 1
    assert result.failed_callbacks == {}


def test_data_without_images_is_a_warning_and_training_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = tiny_pictures()
    task.model = torch.nn.Linear(4, 3)
    data = TensorDataset(torch.rand(8, 4), torch.arange(8) % 3)
    result = task.trainer(callbacks=[PredictionImages()]).fit(data, data, epochs=1)

    assert str(result.outcome.status) == "completed"
    assert "can't be shown as images" in caplog.text


def test_data_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownDataError, match="no data named 'test'"):
        fit(PredictionImages("test"))


@pytest.mark.parametrize(
    "options",
    [{"count": 0}, {"count": 2.5}, {"shape": [1]}, {"value_range": [1, 0]}],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        PredictionImages(**options)


def test_an_evaluation_alone_is_shown_where_it_has_the_name_of_the_data(
    sheets: list[Sheet],
) -> None:
    task = tiny_pictures()
    images = PredictionImages("test", count=2)
    trainer = task.trainer(callbacks=[images], settings=Settings(directory="run", device="cpu"))
    trainer.evaluate(task.validation, name="val")
    trainer.evaluate(task.validation, name="test")

    assert len(sheets) == 1


def test_a_prediction_is_shown_by_one_that_is_about_it(sheets: list[Sheet]) -> None:
    task = tiny_pictures()
    images = PredictionImages("predict", count=2)
    trainer = task.trainer(callbacks=[images], settings=Settings(directory="run", device="cpu"))
    trainer.predict(task.validation)

    assert len(sheets) == 1
