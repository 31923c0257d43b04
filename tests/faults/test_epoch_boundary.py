"""R1: stopped between two epochs and started again, a run ends as if it had never stopped."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.faults.figures import Figure
from tests.faults.lives import Life, Options, check
from tests.faults.programs.control_run import ControlOptions
from tests.faults.programs.long_run import Options as Training

BOUNDARY = Training("", workers=0, background=False, save_every="1 epoch")

CASES: dict[str, dict[str, Any]] = {
    f"{scheduler} schedule, {accumulate} accumulated, {precision}, {workers} workers": {
        "scheduler": scheduler,
        "accumulate": accumulate,
        "precision": precision,
        "workers": workers,
    }
    for scheduler, accumulate, precision, workers in [
        ("none", 1, "fp32", 0),
        ("none", 2, "fp32", 2),
        ("step", 1, "fp32", 0),
        ("step", 2, "fp32", 0),
        ("step", 3, "fp32", 2),
        ("step", 1, "bf16", 0),
        ("step", 2, "bf16", 2),
        ("epoch", 1, "fp32", 0),
        ("epoch", 2, "fp32", 2),
        ("epoch", 3, "bf16", 0),
        ("epoch", 1, "bf16", 2),
        ("plateau", 1, "fp32", 0),
        ("plateau", 2, "fp32", 2),
        ("plateau", 3, "bf16", 0),
        ("plateau", 1, "bf16", 2),
        ("step", 1, "fp32", 2),
    ]
}
QUICK = ("step schedule, 2 accumulated, bf16, 2 workers",)


def resume_at_each_boundary(folder: Path, options: Options) -> None:
    """Stop after the second and after the fourth of six epochs."""
    unbroken = Life(dataclasses.replace(options, directory=str(folder / "unbroken")))
    assert unbroken.exit_code == 0
    broken = dataclasses.replace(options, directory=str(folder / "broken"))
    lives = [Life(dataclasses.replace(broken, end_after_epoch=end)) for end in (2, 4, None)]

    assert [len(life.steps) for life in lives] == [len(unbroken.steps) // 3] * 3
    check(lives, unbroken, may_lose=0)


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES]
)
def test_stopped_between_epochs_it_goes_on_bitwise(
    tmp_path: Path, case: str, figure: Figure
) -> None:
    figure("R1", "bitwise after a stop between epochs, on 1 rank")
    resume_at_each_boundary(tmp_path, dataclasses.replace(BOUNDARY, **CASES[case]))


def test_a_loop_written_by_hand_passes_and_without_its_generators_does_not(
    tmp_path: Path, figure: Figure
) -> None:
    figure("R1", "control: a loop written by hand")
    resume_at_each_boundary(tmp_path / "whole", ControlOptions(""))
    with pytest.raises(AssertionError, match=r"batch 25 is another one|differ"):
        resume_at_each_boundary(tmp_path / "broken", ControlOptions("", fault="random"))
