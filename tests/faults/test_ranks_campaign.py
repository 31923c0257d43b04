"""R1, R2, R3, R7, R9 and R11 on two ranks: agreement and failure, again and again, by torchrun.

Each scenario once is a normal test, in `tests/distributed/test_training.py`.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.distributed.conftest import StartTorchrun, TorchRun
from tests.distributed.conftest import torchrun as torchrun
from tests.faults.figures import Figure

pytestmark = [pytest.mark.slow, pytest.mark.distributed, pytest.mark.timeout(900)]
TIMES = 20
AGREED_SECONDS = 5.0
FAILED_SECONDS = 15.0

Train = Callable[..., TorchRun]


@pytest.fixture
def train(torchrun: StartTorchrun) -> Train:
    """Start the training on two ranks; `environment` says what happens to it."""

    def start(what: str, folder: Path, *, restarts: int = 0, **environment: object) -> TorchRun:
        run = torchrun(
            "training.py",
            what,
            folder,
            max_restarts=restarts,
            timeout_seconds=300,
            environment={name: str(value) for name, value in environment.items()},
        )
        assert not run.hung, run
        return run

    return start


Unbroken = Callable[..., TorchRun]


@pytest.fixture(scope="module")
def unbroken(torchrun: StartTorchrun, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """The same training, undisturbed; trained once per environment."""
    known: dict[tuple[Any, ...], TorchRun] = {}

    def find(**environment: object) -> TorchRun:
        key = tuple(sorted(environment.items()))
        if key not in known:
            folder = tmp_path_factory.mktemp("unbroken")
            texts = {name: str(value) for name, value in environment.items()}
            known[key] = torchrun(
                "training.py", "checkpoint", folder, environment=texts, timeout_seconds=300
            )
            assert known[key].exit_code == 0, known[key]
        return known[key]

    return find


def same(found: TorchRun, expected: TorchRun) -> None:
    """Weights and records are bitwise those of the other run, on both ranks."""
    assert found.exit_code == 0, found
    for claim in ("digest", "rows"):
        assert found.claimed(claim) == expected.claimed(claim), f"{claim} differs\n{found}"


def seconds_until_closed(run: TorchRun) -> float:
    """From the request, on whichever rank, until the last rank had closed its callbacks."""
    asked = [rank.claims["asked at"] for rank in run.ranks if "asked at" in rank.claims]
    return float(max(run.claimed("closed at")) - min(asked)) if asked else 0.0


def seconds_until_ended(run: TorchRun) -> float:
    """From the failure until the launcher itself was gone."""
    asked = [rank.claims["asked at"] for rank in run.ranks if "asked at" in rank.claims]
    return run.ended_at - max(asked)


# --- R9: one decision --------------------------------------------------------------------------


@pytest.mark.parametrize("time", range(TIMES))
@pytest.mark.parametrize(
    "what",
    ["stop", "StopTraining", "different values", "stop in an evaluation", "time", "SIGTERM"],
)
def test_all_ranks_end_at_the_same_step(
    train: Train, tmp_path: Path, what: str, time: int, figure: Figure
) -> None:
    figure("R9", f"same step on all ranks: {what}")
    run = train(what, tmp_path)

    first, second = run.claimed("outcome")
    assert first == second
    assert set(run.exit_codes.values()) <= {143, -15} if what == "SIGTERM" else not run.exit_code
    seconds = seconds_until_closed(run)
    if seconds:
        note = "to closed callbacks on all ranks"
        figure("R9", "seconds from the request", of=0, largest=seconds, unit="s", note=note)
    assert seconds < AGREED_SECONDS


@pytest.mark.parametrize("time", range(TIMES))
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("raise", "rank 1 is broken"),
        ("loader", "sample 40 is broken"),
        ("kill", "killed"),
        ("swallow", "rank 1 is broken"),
    ],
)
def test_a_failing_rank_ends_all_with_its_error_first(
    train: Train, tmp_path: Path, what: str, message: str, time: int, figure: Figure
) -> None:
    figure("R9", f"all ranks end with the first error: {what}")
    run = train(what, tmp_path)

    assert run.exit_code
    assert "rank 1 failed first" in run.ranks[0].stderr
    assert message in run.ranks[0].stderr
    seconds = seconds_until_ended(run)
    note = "the launcher included"  # told before it is judged: the slowest belongs in the table
    figure("R9", "seconds from a failure to the end", of=0, largest=seconds, unit="s", note=note)
    assert seconds < FAILED_SECONDS


@pytest.mark.parametrize("time", range(TIMES))
@pytest.mark.parametrize("what", ["kill", "raise"])
def test_a_restarted_job_ends_bitwise_as_an_unbroken_one(
    train: Train, unbroken: Unbroken, tmp_path: Path, what: str, time: int, figure: Figure
) -> None:
    figure("R9", f"torchrun --max-restarts: bitwise after {what}")
    same(train(what, tmp_path, restarts=1), unbroken())


# --- R1, R2, R3, R7: exact resumes -------------------------------------------------------------


@pytest.mark.parametrize("time", range(TIMES))
def test_an_epoch_s_end_is_a_place_to_go_on_from(
    train: Train, unbroken: Unbroken, tmp_path: Path, time: int, figure: Figure
) -> None:
    figure("R1", "bitwise resumes at an epoch boundary, on 2 ranks")
    options = {"WORKERS": 2 * (time % 2), "ACCUMULATE": 1 + time // 2 % 2, "EPOCHS": 3}
    stopped = train("boundary", tmp_path, **options)
    assert stopped.claimed("outcome")[0][0] == "stopped"

    same(train("checkpoint", tmp_path, **options), unbroken(**options))


@pytest.mark.parametrize("seed", range(TIMES))
def test_killed_at_a_random_moment_it_ends_bitwise_the_same(
    train: Train, unbroken: Unbroken, tmp_path: Path, seed: int, figure: Figure
) -> None:
    figure("R2", "bitwise after SIGKILL of a rank, on 2 ranks")
    dice = random.Random(seed)
    options = {"EPOCHS": 40, "WORKERS": seed % 2}
    expected = unbroken(**options)
    moment = dice.uniform(0.05, 0.9) * expected.claimed("seconds")[0]
    kill = f"{dice.randrange(2)} after {moment}"

    same(train("checkpoint", tmp_path, restarts=1, KILL=kill, **options), expected)


@pytest.mark.parametrize("time", range(TIMES))
def test_killed_within_a_write_it_ends_bitwise_the_same(
    train: Train, unbroken: Unbroken, tmp_path: Path, time: int, figure: Figure
) -> None:
    figure("R3", "resumes after SIGKILL inside a write, on 2 ranks")
    places = ["0 before", "0 after", "1 before", "1 after", "0 publish"]

    run = train("checkpoint", tmp_path, restarts=1, DIE_IN_WRITE=places[time % len(places)])

    same(run, unbroken())


@pytest.mark.parametrize("time", range(TIMES))
def test_a_signal_to_one_rank_is_a_place_to_go_on_from(
    train: Train, unbroken: Unbroken, tmp_path: Path, time: int, figure: Figure
) -> None:
    figure("R7", "SIGINT and SIGTERM to one of 2 ranks: saved, exit code, bitwise after")
    number = (signal.SIGINT, signal.SIGTERM)[time % 2]
    options = {"SIGNAL": int(number), "SIGNALLED": time // 2 % 2}
    stopped = train("signal", tmp_path, **options)
    first, second = stopped.claimed("outcome")
    assert first == second
    assert first[0] == "interrupted"
    # The launcher tells those that are left to end, when one has ended with a code.
    assert 128 + number in stopped.exit_codes.values()
    assert set(stopped.exit_codes.values()) <= {128 + number, -signal.SIGTERM, 143}

    same(train("checkpoint", tmp_path), unbroken())


# --- R11: figures ------------------------------------------------------------------------------


def test_evaluations_on_two_ranks_are_the_exact_means(
    train: Train, tmp_path: Path, figure: Figure
) -> None:
    run = train("exact means", tmp_path)
    loss = max(run.claimed("largest error of the loss"))
    accuracy = max(run.claimed("largest error of the accuracy"))
    note = "2 ranks; 1, 2, 65, 101 samples, ragged batches, a rank without a sample"
    figure("R11", "error of the loss", of=0, largest=loss, note=note)
    figure("R11", "error of the accuracy", of=0, largest=accuracy, note=note)

    assert loss < 1e-6
    assert accuracy == pytest.approx(0, abs=1e-12)
