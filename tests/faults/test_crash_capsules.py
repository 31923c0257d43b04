"""Fifty crashes of ten kinds: each leaves a capsule that replays to the same error elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.figures import Figure
from tests.proof.crashes import KINDS, crashing

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = (2, 7, 8, 13, 15)
"""Right after the start, before, at and after a checkpoint, and in the second epoch."""


@pytest.mark.slow
@pytest.mark.parametrize("at", STEPS)
@pytest.mark.parametrize("how", KINDS)
def test_a_capsule_replays_to_the_same_error_in_a_new_process(
    tmp_path: Path, how: str, at: int, figure: Figure
) -> None:
    with contextlib.suppress(Exception):  # that it crashes is shown by its capsule
        crashing(str(tmp_path / "run"), how, at=at).fit()
    (place,) = (tmp_path / "run" / "capsules").iterdir()
    content = json.loads((place / "capsule.json").read_text())
    assert sum(file.stat().st_size for file in place.iterdir()) <= content["limit_bytes"]

    command = [sys.executable, "-m", "trackside", "replay", str(place), "--json", "--yes"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["same"] is True
    figure("R22", "a crash's capsule replays to the same error in a new process")
