"""Broken runs of many kinds: the cause has to be named, and a sound run has to be left alone."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trackside import Settings, Trainer
from trackside.callbacks import Checkpoint, EarlyStopping
from trackside.callbacks.reporting.report_page.diagnosis import diagnose
from trackside.callbacks.reporting.report_page.findings import Finding
from trackside.callbacks.reporting.report_page.reading import ReportedRun, read_run
from trackside.callbacks.reporting.report_page.sessions import Session
from trackside.history import History, Record
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.periodic import on

torch.manual_seed(0)
INPUTS = torch.randn(16, 2)
DATA = [(INPUTS[i : i + 4], INPUTS[i : i + 4].sum(1, keepdim=True)) for i in range(0, 16, 4)]


def train(folder: Path, *callbacks: Any, lr: float = 0.1, epochs: int = 8, **options: Any) -> None:
    trainer = Trainer(
        lambda: nn.Linear(2, 1),
        loss=options.pop("loss", nn.functional.mse_loss),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=lr),
        callbacks=list(callbacks),
        settings=Settings(directory=folder, **options),
        seed=0,
    )
    trainer.fit(DATA, DATA, epochs=epochs)


def raising(error: BaseException) -> Any:
    @on(Callback.on_epoch_end)
    def raises(run: Any, metrics: Any) -> None:
        if run.progress.epochs_completed == 2:
            raise error

    return raises


def found(folder: Path) -> list[Finding]:
    return diagnose(read_run(folder))


def test_epochs_that_were_ended_on_request_are_told(tmp_path: Path) -> None:
    @on(Callback.on_step_end)
    def ends(run: Any) -> None:
        if run.progress.steps_completed == 2:
            run.end_epoch("seen enough")

    train(tmp_path, ends)
    (said,) = [one for one in found(tmp_path) if one.subject == "ended_epochs"]
    assert said.message == "1 of the epochs ended on request, before the data did"
    assert said.evidence == "last at step 2, asked by ends: seen enough"


def test_of_a_sound_run_nothing_is_said(tmp_path: Path) -> None:
    train(tmp_path, lr=0.01)
    assert found(tmp_path) == []


BROKEN: dict[str, tuple[str, Callable[[Path], object]]] = {
    "an error": ("failed", lambda folder: train(folder, raising(ValueError("a bad label")))),
    "no memory": (
        "out_of_memory",
        lambda folder: train(folder, raising(torch.OutOfMemoryError("CUDA out of memory"))),
    ),
    "a full disk": (
        "disk",
        lambda folder: train(folder, raising(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))),
    ),
    "Ctrl-C": ("interrupted", lambda folder: train(folder, raising(KeyboardInterrupt()))),
    "a rate that is too high": (
        "diverged",
        lambda folder: train(folder, lr=1e18, non_finite="stop"),
    ),
    "a rate of 0": ("learns_nothing", lambda folder: train(folder, lr=0.0)),
    "a rate at which the loss rises": ("rises", lambda folder: train(folder, lr=1.5)),
    "a stop by a callback": (
        "stopped",
        lambda folder: train(folder, EarlyStopping("val/loss", patience=1), lr=0.0),
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_the_cause_is_named(tmp_path: Path, kind: str) -> None:
    subject, breaks = BROKEN[kind]
    raised = subject in ("failed", "out_of_memory", "disk", "interrupted")
    with pytest.raises(BaseException) if raised else nullcontext():
        breaks(tmp_path)
    assert subject in [finding.subject for finding in found(tmp_path)]


def test_where_an_error_came_up_is_told_with_its_notes(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        train(tmp_path, raising(ValueError("a bad label")))
    outcome = json.loads((tmp_path / "outcome.json").read_text())
    (finding,) = [one for one in found(tmp_path) if one.subject == "failed"]
    assert outcome["places"]
    assert f", in {outcome['places'][0]}" in finding.evidence


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.callbacks.reporting.report_page.test_diagnosis import *

@on(Callback.on_epoch_end)
def dies(run, metrics):
    if run.progress.epochs_completed == 4:
        os.kill(os.getpid(), signal.SIGKILL)

train(Path(sys.argv[1]), Checkpoint("1 epoch", background=False), dies)
"""


def test_a_kill_is_named_with_the_way_to_go_on(tmp_path: Path, repository: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=repository, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    finding = next(one for one in found(tmp_path) if one.severity == "ended")
    assert finding.subject == "killed"
    assert finding.remedy.startswith(f"trackside resume {tmp_path}")


def course(**columns: list[float]) -> ReportedRun:
    """A run of an hour with these records, one an epoch."""
    history = History()
    rows = max(map(len, columns.values()))
    for row in range(rows):
        values = {name.replace("__", "/"): column[row] for name, column in columns.items()}
        history.append(Record(values, 100 * (row + 1), row + 1, 0, 3600 * (row + 1) / rows))
    run = ReportedRun("course", Path("course"), "completed", "reached epochs", history=history)
    run.step, run.seconds = 100 * rows, 3600.0
    return run


def subjects(run: ReportedRun) -> list[str]:
    return [finding.subject for finding in diagnose(run)]


FALLING = [math.exp(-row / 10) for row in range(30)]


def courses() -> Iterator[tuple[str, ReportedRun]]:
    turning = [max(0.4, 1 - row / 10) + max(0, row - 6) * 0.05 for row in range(30)]
    yield "overfits", course(train__loss=FALLING, val__loss=turning)
    yield "not_finite", course(val__score=[0.5, *[math.nan] * 5])
    yield "plateau", course(val__accuracy=[min(0.9, 0.5 + row / 20) for row in range(30)])
    spiked = [*FALLING[:20], 50.0, *FALLING[21:]]
    yield "spikes", course(train__loss=spiked)
    yield "data_wait", course(throughput__data_wait_share=[0.1, *[0.4] * 20])
    rates = [100 / (1 + row / 5) for row in range(30)]
    yield "gets_slower", course(throughput__steps_per_second=rates)
    yield "memory_grows", course(memory__host_peak_bytes=[1e9 + 1e8 * row for row in range(30)])
    slow = course(train__loss=FALLING)
    slow.callback_seconds = {"pictures": 1200.0, "history": 1.0}
    yield "callbacks", slow
    again = course(train__loss=FALLING)
    again.compilations, again.compile_seconds = 40, 300.0
    yield "compilations", again
    skips = course(train__loss=FALLING)
    skips.skipped_steps, skips.skipped_in_all = [{"step": 9, "reason": "inf"}], 100
    yield "skipped", skips
    begun = [f"2026-01-0{day}T00:00:00+00:00" for day in (1, 2)]
    often = course(train__loss=FALLING)
    often.sessions = [Session(begun[0], 0, begun[0], 2000), Session(begun[1], 1500)]
    often.ended = "2026-01-02T01:00:00+00:00"
    yield "goodput", often


@pytest.mark.parametrize(("subject", "run"), list(courses()), ids=[name for name, _ in courses()])
def test_a_course_that_looks_wrong_is_found(subject: str, run: ReportedRun) -> None:
    assert subjects(run) == [subject]


def test_bad_data_is_not_mended_by_a_lower_rate() -> None:
    run = course(train__loss=FALLING)
    reason = "the loss is inf in step 9; the data is bad already: batch[0]"
    run.skipped_steps, run.skipped_in_all = [{"step": 9, "reason": reason}], 100
    run.status, run.reason = "diverged", reason
    remedies = [finding.remedy for finding in diagnose(run)]
    assert len(remedies) == 2
    assert all(remedy.startswith("find the samples of that batch") for remedy in remedies)


def test_pauses_between_sessions_are_not_mended_by_saving_more_often() -> None:
    run = course(train__loss=FALLING)
    run.sessions = [
        Session("2026-01-01T00:00:00+00:00", 0),
        Session("2026-01-02T00:00:00+00:00", 0),
    ]
    run.ended = "2026-01-02T01:00:00+00:00"
    (finding,) = diagnose(run)
    assert "save" not in finding.remedy
    run.seconds = 5.0  # a short run that was resumed wasn't slow
    assert subjects(run) == []


def test_noise_is_neither_a_spike_nor_a_rise() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        noise = torch.randn(2000, generator=generator)
        losses = [2 * math.exp(-row / 500) + 1 + 0.1 * float(noise[row]) for row in range(2000)]
        assert subjects(course(train__loss=losses)) == []


def test_batches_that_went_on_in_parts_are_a_note(tmp_path: Path) -> None:
    def runs_out(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if len(target) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return nn.functional.mse_loss(prediction, target)

    def made(folder: Path) -> None:
        trainer = Trainer(
            lambda: nn.Linear(2, 1),
            loss=runs_out,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01),
            settings=Settings(directory=folder, device="cpu", halve_batches_to=1),
        )
        trainer.fit(DATA, epochs=8)

    made(tmp_path)
    [finding] = [one for one in found(tmp_path) if one.subject == "halved"]
    assert "in parts of at most 2 samples" in finding.message
    assert finding.severity == "note"


def test_a_damaged_checkpoint_is_found(tmp_path: Path) -> None:
    train(tmp_path, Checkpoint("1 epoch"), lr=0.01, epochs=1)
    (manifest,) = tmp_path.glob("checkpoints/step-*/manifest.json")
    manifest.write_text("{")
    assert [one.subject for one in found(tmp_path)] == ["damaged_checkpoint"]


def test_a_path_that_names_a_disk_is_no_full_disk(tmp_path: Path) -> None:
    error = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/mnt/disk1/labels.csv")
    with pytest.raises(FileNotFoundError):
        train(tmp_path, raising(error))
    assert [finding.subject for finding in found(tmp_path)] == ["failed"]


def test_a_value_that_is_finite_again_is_not_said_to_stay_so() -> None:
    (finding,) = diagnose(course(val__score=[0.5, math.nan, 0.5, math.nan, 0.5]))
    assert finding.message == "val/score is nan at step 200"
    (finding,) = diagnose(course(val__score=[0.5, math.nan, math.inf]))
    assert finding.message == "val/score is not finite from step 200 on"


def test_a_run_that_goes_on_is_not_said_to_be_killed(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    @on(Callback.on_epoch_end)
    def looks(run: Any, metrics: Any) -> None:
        seen.append([finding.subject for finding in found(tmp_path)])

    train(tmp_path, looks, lr=0.01, epochs=2)
    assert seen == [["goes_on"], ["goes_on"]]
