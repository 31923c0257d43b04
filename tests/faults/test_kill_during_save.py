"""R3: killed inside a write, a run resumes by itself, and never more than one save is lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoint.states import equal
from tests.faults.figures import Figure
from tests.faults.programs.saving import OverwritingWriter, state_at
from trackside.checkpoint import CheckpointWriter, newest_valid

PROGRAM = Path(__file__).parent / "programs" / "saving.py"


@dataclass
class Server:
    process: subprocess.Popen[str]
    report: Path

    def order(self, root: Path, **order: Any) -> tuple[int, list[dict[str, Any]]]:
        """Save until killed. Returns how the process ended, and what it told until then."""
        self.report.write_text("")
        order = {"root": str(root), "report": str(self.report), "background": True, **order}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        ended = json.loads(self.process.stdout.readline())["ended"]
        return ended, [json.loads(line) for line in self.report.read_text().splitlines()]

    def count(self, root: Path, **order: Any) -> int:
        """System calls that change the disk, in an order that nothing disturbs."""
        ended, told = self.order(root, **order)
        assert ended == 0
        return int(told[-1]["count"])


def server_with(report: Path, **environment: str) -> Iterator[Server]:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    try:
        yield Server(process, report)
    finally:
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from server_with(tmp_path_factory.mktemp("server") / "report")


def check(root: Path, told: list[dict[str, Any]], before: int) -> int:
    """What holds after a kill. Returns the step that the run will go on from."""

    def last(what: str) -> int:
        return max((line[what] for line in told if what in line), default=before)

    assert all(line["leftovers"] == [] for line in told if "leftovers" in line)
    selection = newest_valid(root)
    step = 0 if selection is None else selection.checkpoint.manifest.step
    # What was told to be saved is there. Of those that `save` has accepted one may be lost.
    assert max(before, last("saved"), last("accepted") - 1) <= step <= last("asked")
    if selection is None:
        return 0
    assert selection.passed_over == ()
    assert equal(selection.checkpoint.state(), state_at(step))
    return step


def campaign(server: Server, root: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill so many times, in the foreground and the background, at and around system calls."""
    chance = random.Random(seed)
    # From the second start on there are checkpoints to read and to delete.
    server.count(root)
    calls, step = server.count(root), check(root, [], 6)
    ends = {"at a call": 0, "any moment": 0, "not killed": 0}
    for number in range(kills):
        # Replicas over the whole save: one moment from each part.
        moment = 1 + int((number + chance.random()) * calls / kills)
        how = "kill_at" if number % 2 else "kill_after"
        ended, told = server.order(
            root, background=number % 4 < 3, fraction=chance.random(), **{how: moment}
        )
        assert ended in (0, -signal.SIGKILL)
        step = check(root, told, step)
        name = "at a call" if number % 2 else "any moment"
        ends[name if ended else "not killed"] += 1
    CheckpointWriter(root, "run")
    assert list(root.glob(".tmp-*")) == []
    return ends


def test_killed_at_any_moment_of_a_save_a_run_goes_on(server: Server, tmp_path: Path) -> None:
    ends = campaign(server, tmp_path, kills=8, seed=0)
    assert ends["at a call"] == 4


def test_killed_in_its_very_first_save_a_run_starts_anew(server: Server, tmp_path: Path) -> None:
    for moment in (1, 8, 12):
        ended, told = server.order(tmp_path, kill_at=moment, fraction=0.3)
        assert ended == -signal.SIGKILL
        assert check(tmp_path, told, 0) == 0
    assert server.order(tmp_path)[0] == 0
    assert check(tmp_path, [], 3) == 3
    assert list(tmp_path.glob(".tmp-*")) == []


def test_a_writer_that_overwrites_its_file_is_caught(
    server: Server, tmp_path: Path, figure: Figure
) -> None:
    figure("R3", "control: a writer that overwrites its file is caught")
    calls = server.count(tmp_path, control=True)
    ended, _ = server.order(tmp_path, control=True, kill_at=calls // 2, fraction=0.5)
    assert ended == -signal.SIGKILL
    with pytest.raises(ValueError, match="half old"):
        OverwritingWriter(tmp_path).load()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_of_a_hundred_kills_during_a_save_a_hundred_resume(
    server: Server, tmp_path: Path, seed: int, figure: Figure
) -> None:
    figure("R3", "resumed by itself after SIGKILL inside a write", of=100)
    ends = campaign(server, tmp_path, kills=100, seed=seed)
    assert ends["at a call"] == 50


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no second file system to write to")
def test_it_is_the_same_with_tmpdir_on_another_file_system(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, figure: Figure
) -> None:
    figure("R3", "the same with TMPDIR on another file system", of=50)
    elsewhere = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        assert os.stat(elsewhere).st_dev != os.stat(tmp_path).st_dev
        report = tmp_path_factory.mktemp("server") / "report"
        for server in server_with(report, TMPDIR=str(elsewhere)):
            campaign(server, tmp_path, kills=50, seed=3)
        assert os.listdir(elsewhere) == []
    finally:
        shutil.rmtree(elsewhere)
