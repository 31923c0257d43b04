"""Whole trainings on two ranks, started by torchrun: right figures, one decision, no hangs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .conftest import RunAlone, StartForked, StartTorchrun

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(400)]  # several starts of torchrun
TOLERANCE = 1e-12
"""Relative, in double precision: only the order of additions differs between one rank and two."""


def close(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    return bool(a == pytest.approx(b, rel=TOLERANCE, abs=TOLERANCE)) if a is not None else b is None


@pytest.mark.parametrize("what", ["plain", "accumulate", "workers"])
def test_two_ranks_are_one(
    on_ranks: StartForked, alone: RunAlone, tmp_path: Path, what: str
) -> None:
    one = alone("training.py", what, tmp_path / "one")
    two = on_ranks("training.py", what, tmp_path / "two")

    assert two.exit_code == 0, two
    for claim in ("rows", "weights", *(("collected", "predicted") if what != "workers" else ())):
        first, second = two.claimed(claim)
        assert first == second, f"{claim} differs between ranks"
        assert close(first, one[claim]), claim
    if what != "workers":
        files = sorted((tmp_path / "two").glob("predictions/predict/*.npz"))
        written = np.concatenate([np.load(file)["prediction"] for file in files])
        assert close(written.flatten().tolist(), one["predicted"]), "written"


@pytest.mark.parametrize(
    ("what", "status", "reason"),
    [
        ("stop", "stopped", "rank 1 has seen enough"),
        ("StopTraining", "stopped", "rank 1 has seen enough"),
        ("different values", "stopped", "value 1"),
        ("stop in an evaluation", "stopped", "rank 1 saw the evaluation"),
        ("time", "stopped", "reached seconds 0.3"),
        ("SIGTERM", "interrupted", "SIGTERM"),
    ],
)
def test_all_ranks_end_at_the_same_step_for_the_same_reason(
    torchrun: StartTorchrun,
    on_ranks: StartForked,
    tmp_path: Path,
    what: str,
    status: str,
    reason: str,
) -> None:
    start = torchrun if what in {"stop", "SIGTERM"} else on_ranks
    run = start("training.py", what, tmp_path)

    assert not run.hung, run
    first, second = run.claimed("outcome")
    assert first == second, run
    assert [first[0], first[2]] == [status, reason]
    assert run.claimed("closed") == [status, status]
    if what == "SIGTERM":
        assert run.exit_codes
        assert set(run.exit_codes.values()) <= {143, -15}, run
        assert list((tmp_path / "checkpoints").glob("step-*")), "it was saved before it ended"
    else:
        assert run.exit_code == 0


@pytest.mark.parametrize(
    ("what", "message"), [("raise", "rank 1 is broken"), ("loader", "sample 40 is broken")]
)
def test_an_error_on_one_rank_ends_all_with_that_error_first(
    torchrun: StartTorchrun, tmp_path: Path, what: str, message: str
) -> None:
    run = torchrun("training.py", what, tmp_path)

    assert not run.hung, run
    assert run.exit_code != 0
    assert f"ValueError: {message}" in run.ranks[1].stderr
    assert "rank 1 failed first" in run.ranks[0].stderr
    assert message in run.ranks[0].stderr, "the other rank shows the first error as well"
    assert run.claimed("closed") == ["failed", "failed"]
    if what == "raise":  # in a callback between two steps: both ranks have saved before they end
        manifests = (tmp_path / "checkpoints").glob("step-*/*.json")
        assert any("callback 'disturb' fails in" in file.read_text() for file in manifests)


@pytest.mark.parametrize("what", ["kill", pytest.param("raise", marks=pytest.mark.slow)])
def test_a_restarted_job_ends_bitwise_as_an_unbroken_one(
    torchrun: StartTorchrun, on_ranks: StartForked, tmp_path: Path, what: str
) -> None:
    unbroken = on_ranks("training.py", "checkpoint", tmp_path / "unbroken")
    broken = torchrun("training.py", what, tmp_path / "broken", max_restarts=1, timeout_seconds=180)

    assert unbroken.exit_code == broken.exit_code == 0, broken
    assert broken.claimed("digest") == unbroken.claimed("digest")
    assert broken.claimed("rows") == unbroken.claimed("rows")


def test_the_callback_that_calls_other_collectives_on_one_rank_is_named(
    torchrun: StartTorchrun, tmp_path: Path
) -> None:
    run = torchrun(
        "training.py", "collectives", tmp_path, environment={"TRACKSIDE_CHECK_COLLECTIVES": "1"}
    )

    assert not run.hung, run
    assert run.exit_code != 0
    told = run.ranks[0].stderr + run.ranks[1].stderr
    assert "barrier by 'disturb' on rank 0" in told
    assert "all_reduce of float32[2, 3] by 'disturb' on rank 1" in told
    assert run.claimed("closed") == ["failed", "failed"]


def test_ranks_that_wait_for_each_other_end_with_the_place_of_each(
    torchrun: StartTorchrun, tmp_path: Path
) -> None:
    run = torchrun(
        "training.py", "collectives", tmp_path, environment={"TRACKSIDE_WAIT_SECONDS": "2"}
    )

    assert not run.hung, run
    assert run.exit_code != 0
    for rank in run.ranks:
        assert "all ranks wait for each other" in rank.stderr, run
        assert "rank 0 waits in `barrier` called at" in rank.stderr
        assert "rank 1 waits in `all_reduce` called at" in rank.stderr
        assert rank.stderr.count("in the callback 'disturb'") >= 2


def test_callbacks_that_call_the_same_collectives_pass_the_check(
    on_ranks: StartForked, tmp_path: Path
) -> None:
    run = on_ranks(
        "training.py", "checkpoint", tmp_path, environment={"TRACKSIDE_CHECK_COLLECTIVES": "1"}
    )

    assert run.exit_code == 0, run


def test_fsdp_trains_as_ddp_does(on_ranks: StartForked, tmp_path: Path) -> None:
    ddp = on_ranks("training.py", "plain", tmp_path / "ddp")
    fsdp = on_ranks("training.py", "plain", tmp_path / "fsdp", environment={"PARALLEL": "fsdp"})

    assert fsdp.exit_code == 0, fsdp
    assert close(fsdp.claimed("weights")[0], ddp.claimed("weights")[0])
    assert close(fsdp.claimed("rows")[0], ddp.claimed("rows")[0])
