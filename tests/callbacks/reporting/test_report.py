from __future__ import annotations

from pathlib import Path

import pytest

from trackside import Settings
from trackside.callbacks import EarlyStopping, Report
from trackside.errors import ConfigurationError, MonitorError
from trackside.testing import ScriptedRun, script, tiny_regression

LOSSES = [{"val/loss": 0.5}, {"val/loss": 0.4}, {"val/loss": 0.3}]


def test_the_page_is_there_when_the_run_is_over(tmp_path: Path) -> None:
    script(Report(), LOSSES, directory=tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "val/loss: from 0.5000" in page
    assert "completed" in page


def test_it_is_made_so_often_as_asked_while_the_run_goes_on(tmp_path: Path) -> None:
    page = tmp_path / "plots" / "run.html"

    def story(run: ScriptedRun) -> None:
        for values in LOSSES:
            run.tell_epoch(values)
            run.tell_step({"loss": 1.0})  # the epoch before is over by now
            assert f"to {values['val/loss']:.4f} at step" in page.read_text() or values is LOSSES[0]
            assert "it goes on" in page.read_text()

    script(Report("1 epoch", file="plots/run.html"), story, directory=tmp_path)
    assert "it goes on" not in page.read_text()


def test_a_run_that_fails_has_its_page(tmp_path: Path) -> None:
    def story(run: ScriptedRun) -> None:
        run.tell_epoch(LOSSES[0])
        raise RuntimeError("it broke <here>")

    with pytest.raises(RuntimeError):
        script(Report(), story, directory=tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "it broke &lt;here&gt;" in page
    assert ">failed<" in page


def test_a_run_that_is_refused_leaves_no_page(tmp_path: Path) -> None:
    task = tiny_regression()
    trainer = task.trainer(
        callbacks=[Report(), EarlyStopping("val/los")],
        settings=Settings(directory=tmp_path / "run"),
    )
    with pytest.raises(MonitorError):
        trainer.fit(task.train, task.validation, epochs=1)
    assert not (tmp_path / "run").exists()


def test_another_ending_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"must end in \.html"):
        Report(file="report.pdf")
