"""A sweep on two ranks: both train each trial together, and end it alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import StartForked, StartTorchrun

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(300)]


def test_ranks_train_each_trial_together_and_one_that_fails_on_a_rank_costs_no_other(
    on_ranks: StartForked, tmp_path: Path
) -> None:
    run = on_ranks("sweeping.py", tmp_path)
    assert run.exit_code == 0, str(run)

    (ends, others), (trials, _) = run.claimed("ends"), run.claimed("states")
    failed, complete = trials
    assert (failed[0], complete[0]) == ("failed", "complete")
    assert failed[2].splitlines()[0] == "rank 1: ValueError: rank 1 is broken"
    assert ends == others == [["trial-0001", complete[1]["optimizer.lr"], 6, "reached epochs=2"]]
    assert run.claimed("said") == [2, 0]  # rank 0 says the lines

    (ends, others), (states, _) = run.claimed("pruned ends"), run.claimed("pruned states")
    assert states == ["complete"] * 5 + ["pruned"]
    assert ends == others
    [[name, _, step, reason]] = ends
    assert (name, step) == ("trial-0005", 3)
    assert reason.startswith("pruned by Optuna")


@pytest.mark.slow
def test_after_the_kill_of_a_rank_the_trial_goes_on_the_next_time(
    torchrun: StartTorchrun, tmp_path: Path
) -> None:
    run = torchrun("sweeping.py", tmp_path, "kill", max_restarts=1)
    assert run.exit_code == 0, str(run)

    states, _ = run.claimed("states")
    assert [state for state, *_ in states] == ["complete", "complete"]
    ends, others = run.claimed("ends")
    assert ends == others
    assert [name for name, *_ in ends] == ["trial-0000", "trial-0001"]
