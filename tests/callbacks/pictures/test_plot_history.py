from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.callbacks.pictures.scenes import Tracker
from trackside import Output, Settings, Trainer
from trackside.callbacks.pictures import plot_history
from trackside.callbacks.pictures.history_panels import Panel
from trackside.callbacks.pictures.plot_history import PlotHistory
from trackside.errors import ConfigurationError
from trackside.testing import script, tiny_regression

EPOCHS = [{"train/loss": 2.0, "val/loss": 1.5}, {"train/loss": 1.0, "val/loss": 0.5}]


def test_one_file_is_kept_and_its_last_version_is_shown(tmp_path: Path) -> None:
    tracker = Tracker()
    script([tracker, PlotHistory()], EPOCHS, directory=tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.png", "schedule.jsonl"]
    assert set(tracker.names) == {"history"}
    assert tracker.shown[-1][1].step == 8


def test_it_shows_all_that_was_recorded_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Panel]] = []
    draw = plot_history.__dict__["draw_history"]

    def also(figure: Any, shown: list[Panel], axis: Any, title: str) -> None:
        seen.append(shown)
        draw(figure, shown, axis, title)

    monkeypatch.setattr(plot_history, "draw_history", also)
    script([PlotHistory(values=["*/loss"])], EPOCHS, directory=tmp_path)

    assert seen[-1][0].curves["val"] == ([4, 8], [1.5, 0.5])


def test_nothing_recorded_is_nothing_drawn(tmp_path: Path) -> None:
    run = script([PlotHistory(values=["no/such"])], EPOCHS, directory=tmp_path)

    assert list(tmp_path.iterdir()) == []
    assert run.callbacks.failures() == {}


class Counts(Trainer):
    def training_step(self, run: Any, batch: Any) -> Any:
        inputs, target = batch
        loss = ((run.model(inputs) - target) ** 2).mean()
        return Output(loss, tokens=5 * len(inputs))


def test_tokens_run_to_the_right(tmp_path: Path) -> None:
    task, tracker = tiny_regression(), Tracker()
    trainer = Counts(
        task.model,
        optimizer=task.optimizer,
        callbacks=[tracker, PlotHistory(axis="tokens")],
        defaults=False,
        settings=Settings(directory=tmp_path),
    )
    result = trainer.fit(task.train, epochs=2)

    assert result.history.axes()["tokens"][-1] == 100
    assert set(tracker.names) == {"history"}
    assert (tmp_path / "history.png").is_file()
    assert result.failed_callbacks == {}


def test_tokens_that_no_step_counts_are_no_axis(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = script([PlotHistory(axis="tokens")], EPOCHS, directory=tmp_path)

    assert run.callbacks.failures() == {"plot_history": 2}
    assert "no step says how many it has" in caplog.text


@pytest.mark.parametrize(
    "options", [{"axis": "steps"}, {"file": "history.pdf"}, {"file": "../history.png"}]
)
def test_options_that_make_no_picture_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        PlotHistory(**options)
