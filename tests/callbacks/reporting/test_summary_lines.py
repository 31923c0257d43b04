from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from trackside.callbacks.reporting.summary_lines import (
    beginning,
    best_values,
    ending,
    files,
    shares,
    speed,
)
from trackside.history import History, Record
from trackside.outcome import Outcome, Status
from trackside.run import Run
from trackside.step.precision import Precision
from trackside.testing.simulated_world import SimulatedWorld


def history(name: str, *values: float) -> History:
    records = History()
    for number, value in enumerate(values, start=1):
        records.append(Record({name: value}, 10 * number, number, 100, 1.0))
    return records


def test_the_beginning_tells_device_precision_ranks_and_folder() -> None:
    run = Run("fit")
    run.device, run.directory = torch.device("cpu"), Path("runs/mine")
    run.precision, run.world = Precision("bf16", run.device), SimulatedWorld(0, 2)

    assert list(beginning(run)) == ["run: cpu · bf16 · 2 ranks · runs/mine"]


def test_the_ending_names_who_asked() -> None:
    outcome = Outcome(Status.STOPPED, "val/loss stands still", "early_stopping", step=1200)

    assert ending(outcome) == "stopped by early_stopping at step 1,200: val/loss stands still"


def test_a_signal_needs_no_other_name() -> None:
    outcome = Outcome(Status.INTERRUPTED, "Ctrl-C", "signal", step=3, signal=2)

    assert ending(outcome) == "interrupted at step 3: Ctrl-C"


def test_the_best_value_is_told_with_its_time_and_the_last_one() -> None:
    lines = list(best_values(history("val/loss", 0.5, 0.2, 0.3), {}))

    assert lines == ["val/loss 0.2000 at step 20 (epoch 2), last 0.3000"]


@pytest.mark.parametrize(
    ("best", "at"),
    [(0, "in epoch 1"), (1, "in epoch 1"), (2, "epoch 1"), (3, "in epoch 2"), (4, "epoch 2")],
)
def test_a_best_value_within_an_epoch_is_said_to_be_in_it(best: int, at: str) -> None:
    records = History()
    for row, (step, epoch) in enumerate([(2, 0), (4, 0), (4, 1), (6, 1), (8, 2)]):
        records.append(Record({"val/loss": float(row != best)}, step, epoch, 100, 1.0))

    (line,) = best_values(records, {})

    assert f"({at})" in line


def test_a_last_value_that_is_the_best_is_not_repeated() -> None:
    assert list(best_values(history("val/loss", 0.5), {})) == [
        "val/loss 0.5000 at step 10 (epoch 1)"
    ]


def test_a_metric_that_was_always_nan_is_told_so() -> None:
    lines = list(best_values(history("val/loss", math.nan), {}))

    assert lines == ["val/loss was never a number"]


def test_a_mode_that_is_given_counts() -> None:
    lines = list(best_values(history("val/margin", 1.0, 3.0, 2.0), {"val/margin": "max"}))

    assert lines[0].startswith("val/margin 3.0000")


def test_figures_of_training_and_of_unknown_direction_have_no_best() -> None:
    records = History()
    records.append(Record({"train/loss": 1.0, "train_recent/loss": 1.0, "lr/0": 1.0}, 1, 1, 1, 1.0))

    assert list(best_values(records, {})) == []


def test_the_folder_is_listed(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "history.jsonl").touch()

    assert files(tmp_path) == f"{tmp_path}: checkpoints/, history.jsonl"
    assert files(tmp_path / "missing") == "none written"


def test_the_costliest_callbacks_are_named_and_the_others_added_up() -> None:
    seconds = {"a": 0.1, "b": 0.5, "c": 0.1, "d": 0.1, "e": 0.1, "f": 0.1}

    assert shares(seconds, 10.0) == ("10 % of the time: b 5.0 %, a 1.0 %, c 1.0 %, 3 others 3.0 %")


def test_time_spent_compiling_is_said() -> None:
    line = speed(9.5, 8.5, 0, 0, 4.5)
    assert line == "9.5 s (training 8.5 s, 4.5 s of it compiling) · 0 steps · 0 samples"


def test_a_run_without_a_step_has_no_speed() -> None:
    assert speed(0.5, 0.0, 0, 0) == "0.5 s (training 0.0 s) · 0 steps · 0 samples"
