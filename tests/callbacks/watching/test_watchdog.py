from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from trackside.callbacks.watching.watchdog import Watchdog, counts_of
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.step.evaluation import EvaluationCallback
from trackside.testing import ScriptedRun, script, tiny_regression


class Hangs(Callback):
    """Stands still in its hook until the watchdog has noticed."""

    def __init__(self, watchdog: Watchdog) -> None:
        self.watchdog = watchdog

    def on_step_end(self, run: Run) -> None:
        wait_here_for(self.watchdog)


def wait_here_for(watchdog: Watchdog) -> None:
    """Until it has looked here: the first report may have begun before, on a loaded machine."""
    before = len(watchdog.reports)
    while len(watchdog.reports) < before + 2:
        threading.Event().wait(0.001)


def test_a_callback_that_hangs_is_named_and_all_stacks_are_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watchdog = Watchdog(timeout_seconds=0.01)

    script([watchdog, Hangs(watchdog)], lambda run: run.tell_step(), directory=tmp_path)

    text = (tmp_path / "stacks" / "step-1-rank-0.txt").read_text()
    assert "callback 'hangs' is being called" in text
    assert "wait_here_for" in text
    assert "callback 'hangs' is being called" in caplog.text


def test_a_standstill_outside_of_callbacks_is_told_apart(tmp_path: Path) -> None:
    watchdog = Watchdog(timeout_seconds=0.01)

    def story(run: ScriptedRun) -> None:
        run.tell_step()
        wait_here_for(watchdog)

    script(watchdog, story, directory=tmp_path)

    assert "no callback is being called" in watchdog.reports[-1].read_text()


def test_the_end_can_be_asked_for(tmp_path: Path) -> None:
    watchdog = Watchdog(timeout_seconds=0.01, stop=True)

    run = script([watchdog, Hangs(watchdog)], [{}], directory=tmp_path)

    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.asked_by) == ("stopped", "watchdog")


def test_no_thread_is_left_and_no_file_when_all_goes_well(tmp_path: Path) -> None:
    before = threading.active_count()

    script(Watchdog(), [{}], directory=tmp_path)

    assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []


def test_batches_of_a_pass_that_a_callback_makes_are_movement() -> None:
    class Seen(EvaluationCallback):
        def __init__(self) -> None:
            super().__init__("val", "1 epoch")
            self.counts: list[Any] = []

        def process_batch(self, run: Run, batch: Any) -> None:
            self.counts.append(counts_of(run))

    task, seen = tiny_regression(), Seen()
    task.trainer(callbacks=[seen]).fit(task.train, task.validation, epochs=2)

    assert len(seen.counts) > 2
    assert len(set(seen.counts)) == len(seen.counts)


def test_a_step_costs_nothing() -> None:
    listened = set(ScriptedRun(Watchdog()).callbacks.table())

    assert listened == {"on_fit_start", "on_fit_end", "on_close"}


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="timeout_seconds"):
        Watchdog(timeout_seconds=0)
