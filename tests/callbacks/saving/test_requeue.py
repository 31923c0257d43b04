"""Requeue calls `scontrol` once, after the save of a run that a signal has ended."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from trackside import Settings
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.callbacks.saving.requeue import Requeue
from trackside.errors import ConfigurationError, UsageError
from trackside.lifecycle.hooks import Callback
from trackside.outcome import Outcome, Status
from trackside.run import Run
from trackside.testing import tiny_regression


class Signalled(Callback[Run]):
    """Gets a signal in its second step."""

    def __init__(self, number: int = signal.SIGUSR1) -> None:
        self.number = number

    def on_step_start(self, run: Run) -> None:
        if run.progress.steps_completed == 1:
            os.kill(os.getpid(), self.number)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Job 7 of a Slurm whose `scontrol` writes down how it is called, and which checkpoints are."""
    written = tmp_path / "calls"
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" after $(ls {tmp_path}/run/checkpoints | grep step) >> {written}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return written


def fit(folder: Path, *callbacks: Any, stop_signals: tuple[str, ...] = ("SIGUSR1",)) -> None:
    task = tiny_regression()
    settings = Settings(directory=folder / "run", stop_signals=stop_signals)
    task.trainer(callbacks=callbacks, settings=settings).fit(task.train, steps=4)


def test_a_signalled_run_is_requeued_once_after_its_save(tmp_path: Path, calls: Path) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path, Checkpoint(every=None), Signalled(), Requeue())
    assert calls.read_text() == "requeue 7 after step-0000000002\n"


def test_a_run_that_reaches_its_limit_is_not_requeued(tmp_path: Path, calls: Path) -> None:
    fit(tmp_path, Checkpoint(every=None), Requeue())
    assert not calls.exists()


def test_a_cancelled_run_is_not_requeued(tmp_path: Path, calls: Path) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path, Checkpoint(every=None), Signalled(signal.SIGTERM), Requeue())
    assert not calls.exists()


def test_a_signal_that_is_named_requeues(tmp_path: Path, calls: Path) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path, Checkpoint(every=None), Signalled(signal.SIGTERM), Requeue(["SIGTERM"]))
    assert calls.exists()


def test_a_last_step_that_is_not_saved_is_not_requeued(
    tmp_path: Path, calls: Path, caplog: pytest.LogCaptureFixture
) -> None:
    requeue = Requeue()
    run = Run("fit", tmp_path)
    requeue.on_checkpoint_saved(run, tmp_path / "step-0000000002")
    requeue.on_close(
        run, Outcome(Status.INTERRUPTED, "SIGUSR1", "signal", 3, signal=signal.SIGUSR1)
    )
    assert not calls.exists()
    assert "step 3 wasn't saved" in caplog.text


def test_outside_slurm_it_does_nothing_and_says_so(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID")
    with caplog.at_level(logging.INFO, "trackside"), pytest.raises(SystemExit):
        fit(tmp_path, Checkpoint(every=None), Signalled(), Requeue())
    assert not calls.exists()
    assert "a job of Slurm" in caplog.text


def test_a_failing_scontrol_is_told_of_and_changes_no_ending(
    tmp_path: Path, calls: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "bin" / "scontrol"
    program.write_text("#!/bin/sh\necho no such job >&2; exit 1\n")
    with pytest.raises(SystemExit) as left:
        fit(tmp_path, Checkpoint(every=None), Signalled(), Requeue())
    assert left.value.code == 128 + signal.SIGUSR1
    assert "no such job" in caplog.text


def test_a_run_that_saves_nothing_is_refused(tmp_path: Path, calls: Path) -> None:
    with pytest.raises(UsageError, match="nothing saves any"):
        fit(tmp_path, Requeue())


def test_a_signal_that_would_kill_the_run_is_refused(tmp_path: Path, calls: Path) -> None:
    with pytest.raises(UsageError, match="stop_signals"):
        fit(tmp_path, Checkpoint(every=None), Requeue(), stop_signals=())


def test_an_unknown_signal_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="SIGNAP"):
        Requeue(["SIGNAP"])
