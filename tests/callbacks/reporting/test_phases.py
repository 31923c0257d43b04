from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from trackside import Settings
from trackside.callbacks import Checkpoint
from trackside.callbacks.reporting.phases import PHASES, Phases
from trackside.callbacks.reporting.report_page.reading import read_run
from trackside.testing import tiny_regression


def test_phases_do_not_overlap_and_sum_up_to_the_time_that_went_by() -> None:
    ticks: Iterator[float] = iter([0.0, 5.0, 20.0, 30.0])
    phases = Phases(lambda: next(ticks))
    run: Any = SimpleNamespace(
        progress=SimpleNamespace(seconds=100.0),
        callback_seconds={"a": 1.0},
        saver=SimpleNamespace(blocked_seconds=7.0),
        data_wait_seconds=0.0,
    )
    phases.session_begins()
    phases.training_begins(run)
    phases.evaluation_begins(run)
    run.callback_seconds = {"a": 3.0}
    phases.evaluation_ends(run)
    run.progress.seconds, run.saver.blocked_seconds, run.data_wait_seconds = 160.0, 8.0, 4.0
    found = phases.seconds(run)
    assert tuple(found) == PHASES
    assert found == {
        "set-up": 5.0,
        "steps": 45.0,
        "waiting for data": 4.0,
        "evaluations": 8.0,
        "checkpoints": 1.0,
        "callbacks": 2.0,
    }


def test_a_run_leaves_its_phases_and_its_deleted_checkpoints_in_its_folder(tmp_path: Path) -> None:
    task = tiny_regression()
    callbacks, settings = [Checkpoint("1 step", keep_last=1)], Settings(directory=tmp_path)
    trainer = task.trainer(defaults=True, callbacks=callbacks, settings=settings)
    trainer.fit(task.train, steps=3)
    found = read_run(tmp_path)
    assert [one.name for one in found.gone] == [f"step-000000000{step}" for step in (1, 2, 3)]
    assert [one.name for one in found.checkpoints] == ["step-0000000003-2"]  # of the end
    assert found.sessions[0].phases["checkpoints"] > 0
    assert found.defaults["precision"] == "fp32"
