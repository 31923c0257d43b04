"""`trackside observe`: callbacks that join a run after its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import trackside
from tests.proof import programs
from trackside import Callback, PeriodicCallback, Run
from trackside.callbacks import CSVLogger, JSONLinesLogger
from trackside.checkpoint import open_checkpoint
from trackside.cli.main import run as command
from trackside.run import Evaluation


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 24 steps in 3 epochs, saved every 4, each step recorded."""
    folder = tmp_path_factory.mktemp("observed") / "run"
    programs.classes(str(folder), every="4 steps").fit()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_logger_that_joins_late_writes_what_one_of_the_run_wrote(
    kept: Path, tmp_path: Path
) -> None:
    found = trackside.observe(kept, [JSONLinesLogger("late.jsonl")], into=tmp_path)

    assert (tmp_path / "late.jsonl").read_text() == (kept / "history.jsonl").read_text()
    assert found.records == len((kept / "history.jsonl").read_text().splitlines())
    assert (found.without_data, found.missed) == ({}, {})


def test_the_folder_of_the_run_is_not_changed(kept: Path, tmp_path: Path) -> None:
    before = contents(kept)
    trackside.observe(kept, [CSVLogger()], into=tmp_path)
    assert contents(kept) == before


class Weights(PeriodicCallback):
    """Keeps the weights when it is due."""

    def __init__(self, every: str) -> None:
        super().__init__(every)
        self.seen: dict[int, dict[str, torch.Tensor]] = {}

    def on_due(self, run: Run) -> None:
        state = run.model.state_dict()
        self.seen[run.progress.steps_completed] = {n: v.clone() for n, v in state.items()}


def test_a_callback_that_is_due_sees_the_weights_of_its_step(kept: Path, tmp_path: Path) -> None:
    weights = Weights("8 steps")

    trackside.observe(kept, [weights], into=tmp_path)

    assert list(weights.seen) == [8, 16, 24]
    for step, state in weights.seen.items():
        saved = open_checkpoint(kept / f"checkpoints/step-{step:010d}").state()["models"]["model"]
        assert all(torch.equal(state[name], saved[name]) for name in saved)


def test_steps_at_which_no_weights_are_left_are_named(kept: Path, tmp_path: Path) -> None:
    weights = Weights("6 steps")

    found = trackside.observe(kept, [weights], into=tmp_path)

    assert list(weights.seen) == [12, 24]
    assert found.missed == {"weights": [6, 18]}


def test_epochs_are_counted(kept: Path, tmp_path: Path) -> None:
    weights = Weights("1 epoch")
    trackside.observe(kept, [weights], into=tmp_path)
    assert list(weights.seen) == [8, 16, 24]


class Evaluated(Callback[Run]):
    """Keeps the values of evaluations."""

    def __init__(self) -> None:
        self.seen: dict[int, float] = {}

    def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
        self.seen[run.progress.steps_completed] = evaluation.metrics["val/loss"]


def test_an_evaluation_at_a_checkpoint_has_the_values_of_the_run(
    kept: Path, tmp_path: Path
) -> None:
    metric = Evaluated()

    trackside.observe(kept, [metric], into=tmp_path)

    rows = map(json.loads, (kept / "history.jsonl").read_text().splitlines())
    recorded = {row["step"]: row["val/loss"] for row in rows if "val/loss" in row}
    assert {step: metric.seen[step] for step in recorded} == recorded


def test_hooks_for_which_a_run_keeps_nothing_are_named(kept: Path, tmp_path: Path) -> None:
    class Gradients(Callback[Run]):
        def on_backward_end(self, run: Run, loss: Any) -> None:
            raise AssertionError

        def on_log(self, run: Run, record: Any) -> None: ...

    found = trackside.observe(kept, [Gradients()], into=tmp_path)

    assert found.without_data == {"gradients": ["on_backward_end"]}


def test_the_command_says_what_was_heard(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["observe", str(kept), "csv_logger", "--into", str(tmp_path), "--json"]) == 0

    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["checkpoints"] == [4, 8, 12, 16, 20, 24]
    assert (tmp_path / "history.csv").exists()
