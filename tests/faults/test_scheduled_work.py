"""R21: killed inside of scheduled work, a run does each piece exactly once."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.faults.figures import Figure
from tests.faults.programs.scheduled_run import received, train
from tests.forks import FORKS, start_server

pytestmark = pytest.mark.timeout(600)

Found = tuple[list[list[Any]], dict[str, bytes]]


def life(folder: Path, kill_at: int | None = None) -> int | None:
    """One process; how many moments it passed, None where it was killed."""
    start_server()
    line, other_end = FORKS.Pipe()
    process = FORKS.Process(target=train, args=(str(folder), kill_at, other_end))
    process.start()
    other_end.close()
    try:
        passed: int | None = line.recv()
    except EOFError:
        passed = None
    process.join()
    line.close()
    assert (process.exitcode == 0) == (passed is not None), process.exitcode
    return passed


def found(folder: Path) -> Found:
    """What the receiver got, and the files of scheduled work: their bytes; of exports, the name."""
    run = folder / "run"
    made = [*run.glob("pictures/**/*.png"), *run.glob("weights*"), *run.glob("predictions/*")]
    files = {str(path.relative_to(run)): path.read_bytes() for path in made}
    exports = {path.name: b"" for path in run.glob("model.pt2") if path.stat().st_size}
    # The epoch comes with each record of a step: a receiver that has one needs no second.
    rows = [row for row in received(folder / "received.jsonl") if row[1] != "epoch"]
    return sorted(rows, key=repr), {**files, **exports}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Found]:
    """The same training, never killed: how many moments there are, and what it leaves."""
    folder = tmp_path_factory.mktemp("unbroken")
    passed = life(folder)
    assert passed is not None
    return passed, found(folder)


def play(folder: Path, unbroken: tuple[int, Found], seed: int, figure: Figure) -> None:
    figure("R21", "killed inside a picture, an export, a file or a delivery: each done once")
    moments, (rows, files) = unbroken
    dice = random.Random(seed)
    assert life(folder, dice.randint(1, moments)) is None
    assert life(folder) is not None
    now_rows, now_files = found(folder)
    assert now_rows == rows
    assert now_files == files


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50))
def test_of_fifty_kills_inside_scheduled_work_each_piece_is_done_once(
    tmp_path: Path, unbroken: tuple[int, Found], seed: int, figure: Figure
) -> None:
    play(tmp_path, unbroken, seed, figure)
