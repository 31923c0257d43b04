"""AutoSave asks by the clock, and says early when nobody would listen."""

from __future__ import annotations

from typing import Any

import pytest

from trackside.callbacks.saving.auto_save import AutoSave
from trackside.errors import ScheduleError, UsageError
from trackside.run import Run
from trackside.testing import tiny_regression


def test_it_asks_once_in_so_many_seconds_of_training() -> None:
    run, auto = Run("fit"), AutoSave(seconds=10)
    nobody: Any = object()
    run.saver = nobody
    auto.on_fit_start(run)
    asked = []
    for seconds in (4, 11, 15, 19, 31):
        run.progress.seconds = seconds
        auto.on_step_end(run)
        asked.append(len(run.requests))

    assert asked == [0, 1, 1, 1, 2]
    assert {request.kind for request in run.requests} == {"save"}


def test_a_run_that_saves_nothing_is_refused_before_its_first_step() -> None:
    task = tiny_regression()
    with pytest.raises(UsageError, match="nothing saves any"):
        task.trainer(callbacks=[AutoSave()]).fit(task.train, steps=1)


def test_no_time_at_all_is_refused() -> None:
    with pytest.raises(ScheduleError):
        AutoSave(seconds=0)
