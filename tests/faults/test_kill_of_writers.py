"""R24: the run or the process that writes its checkpoints is killed at any moment of a save."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.checkpoint.states import equal
from tests.faults.figures import Figure
from tests.faults.programs.delegated import FILE, SAVES, VALUES, live, state_at
from tests.forks import FORKS, start_server
from trackside.checkpoint import CheckpointWriter, newest_valid

Victim = Literal["process", "run"]
FILE_BYTES = 4 * VALUES


class Life:
    """A run that saves, and one of its two processes that is killed meanwhile.

    Args:
        root: Folder of the checkpoints.
        victim: Which one.
        save: In which of its saves: from 1.
        fraction: When so much of the file is on the disk; 0: at once.
    """

    def __init__(self, root: Path, victim: Victim, save: int, fraction: float) -> None:
        start_server()
        self.told: list[dict[str, Any]] = []
        self.killed = False
        line, other_end = FORKS.Pipe()
        run = FORKS.Process(target=live, args=(root, other_end))
        run.start()
        other_end.close()
        assert run.pid is not None
        writers: dict[int, int] = {}
        asked = 0
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                while asked == save and not self.killed and not line.poll():
                    if written(root, self.told[-1]["asked"]) >= fraction * FILE_BYTES:
                        pid = run.pid if victim == "run" else self.told[-1]["process"]
                        os.kill(pid, signal.SIGKILL)
                        self.killed = True
                self.told.append(line.recv())
                if "asked" in self.told[-1]:
                    asked += 1
                    pid = self.told[-1]["process"]
                    if pid is not None and pid not in writers:
                        writers[pid] = os.pidfd_open(pid)
                elif asked == save and "accepted" not in self.told[-1]:
                    asked += SAVES  # too late
                elif asked == save:
                    self.told[-1] = {**self.told[-2], **self.told[-1]}
        run.join()
        line.close()
        self.exit_code = run.exitcode
        for process in writers.values():
            assert select.select([process], [], [], 20)[0], "a process outlived its run"
            os.close(process)


def written(root: Path, step: int) -> int:
    """Bytes of the file that is being written."""
    sizes = [0]
    for folder in root.glob(f".tmp-run.step-{step:010}-*"):
        with contextlib.suppress(OSError):
            sizes.append((folder / FILE).stat().st_size)
    return max(sizes)


def check(root: Path, life: Life, victim: Victim, before: int) -> int:
    """What holds after a life. Returns the step that the next one goes on from."""

    def last(what: str) -> int:
        return max((told[what] for told in life.told if what in told), default=before)

    selection = newest_valid(root)
    step = 0 if selection is None else selection.checkpoint.manifest.step
    assert max(before, last("saved")) <= step <= last("asked")
    if selection is not None and step > before:
        assert selection.passed_over == ()
        assert equal(selection.checkpoint.state(), state_at(step))
    if victim == "process":
        notes = [note for told in life.told for note in told.get("notes", ())]
        assert life.exit_code == 0
        assert step == before + SAVES, "a save was lost"
        assert life.told[-1] == {"leftovers": []}
        assert len(notes) <= 1
        assert all("SIGKILL; a thread wrote this one" in note for note in notes)
    return step


def campaign(root: Path, victim: Victim, kills: int, seed: int) -> Iterator[Life]:
    chance = random.Random(seed)
    step = 0
    for number in range(kills):
        # Some at once, some in the last flush, the others at each place of the file.
        fraction = max(0.0, (number + chance.random()) / kills * 1.2 - 0.1)
        life = Life(root, victim, chance.randint(1, SAVES), min(fraction, 1.0))
        step = check(root, life, victim, step)
        yield life
    CheckpointWriter(root, "run")
    assert list(root.glob(".tmp-*")) == []


@pytest.mark.parametrize("victim", ["process", "run"])
def test_a_kill_of_either_process_in_a_save_loses_no_finished_save(
    tmp_path: Path, victim: Victim
) -> None:
    [life] = campaign(tmp_path, victim, 1, seed=0)
    assert life.killed


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("victim", ["process", "run"])
def test_of_a_hundred_kills_of_either_process_a_hundred_lose_nothing(
    tmp_path: Path, victim: Victim, figure: Figure
) -> None:
    killed = {"process": "the process that writes", "run": "the run"}[victim]
    lives = list(campaign(tmp_path, victim, 100, seed=1))
    hit = sum(life.killed for life in lives)
    what = f"nothing lost or left behind after SIGKILL of {killed} in a save"
    late = f"{len(lives) - hit} of {len(lives)} kills came after the save"
    figure("R24", what, passed=hit, of=hit, note=late if hit < len(lives) else "")
    assert hit >= 90
