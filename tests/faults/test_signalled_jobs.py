"""R7 for jobs: two ranks with loader workers, by both launchers, signalled as clusters do it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from tests.distributed.conftest import REPOSITORY, child_environment
from tests.faults.figures import Figure
from tests.faults.programs.job import GO_ON, WAITING
from trackside.checkpoint import newest_valid

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(300)]
PARTS = "tests.faults.programs.job"
RUN = f"""
seed: 0
data:
  train: {{kind: {PARTS}.loader, samples: 100, shuffle: true}}
  val: {{kind: {PARTS}.loader, samples: 20}}
model: {{kind: Linear, in_features: 4, out_features: 2}}
loss: cross_entropy
optimizer: {{kind: sgd, lr: 0.1}}
trainer: {{epochs: 3, directory: run}}
callbacks:
  checkpoint: {{every: 4 steps}}
"""
# Thirteen steps an epoch; in places where nothing is saved anyway.
PLACES = [("step", 6), ("evaluation", 13), ("step", 17), ("step", 27), ("evaluation", 26)]

TRAIN = ["-m", "trackside", "train", "run.yaml", "--resume", "auto"]
LAUNCHERS = {
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *TRAIN],
    "--processes": [*TRAIN, "--processes", "2"],
}


class Job:
    """One job: a launcher, two ranks and their workers.

    Args:
        launcher: One of `LAUNCHERS`.
        folder: Where `run.yaml` is.
        more: Overrides.
    """

    def __init__(self, launcher: str, folder: Path, *more: str) -> None:
        self.folder = folder
        self.output = folder / "output"
        with self.output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, *LAUNCHERS[launcher], *more],
                cwd=folder,
                env=child_environment(
                    {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'src'}"}
                ),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_it_waits(self) -> None:
        while not all((self.folder / WAITING.format(rank=rank)).exists() for rank in range(2)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)
                raise AssertionError(f"it ended before it was told to\n{self.output.read_text()}")

    def family(self) -> list[psutil.Process]:
        """The launcher, the ranks, their workers."""
        launcher = psutil.Process(self.process.pid)
        return [launcher, *launcher.children(recursive=True)]

    def end(self) -> int:
        """Wait for its end; its exit code."""
        return self.process.wait(120)


@contextlib.contextmanager
def started(launcher: str, folder: Path, *more: str) -> Iterator[Job]:
    """A job of which nothing is left behind, whatever the test does."""
    job = Job(launcher, folder, *more)
    try:
        yield job
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in reversed(job.family()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        job.process.wait()


def to_the_launcher(job: Job, number: signal.Signals) -> None:
    job.process.send_signal(number)


def to_its_group(job: Job, number: signal.Signals) -> None:
    os.killpg(job.process.pid, number)


def to_every_process(job: Job, number: signal.Signals) -> None:
    for process in job.family():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def to_every_process_twice(job: Job, number: signal.Signals) -> None:
    to_every_process(job, number)
    to_every_process(job, number)


Send = Callable[[Job, signal.Signals], None]
CELLS: dict[str, tuple[Send, signal.Signals]] = {
    "SIGINT to the launcher's group": (to_its_group, signal.SIGINT),
    "SIGTERM to the launcher": (to_the_launcher, signal.SIGTERM),
    "SIGTERM to every process": (to_every_process, signal.SIGTERM),
    "SIGTERM to every process, twice": (to_every_process_twice, signal.SIGTERM),
}
QUICK = {
    ("torchrun", "SIGTERM to every process", 0),
    ("--processes", "SIGTERM to every process, twice", 0),
}
TIMES = 20


State = dict[str, bytes]


def newest(folder: Path) -> tuple[int, State]:
    """Step of the newest checkpoint, and its tensors but for sums of times and memory."""
    selection = newest_valid(folder / "run" / "checkpoints")
    assert selection is not None
    state: State = {}
    for path in Path(selection.checkpoint.path).glob("*.safetensors"):
        tensors = load_file(path)
        state |= {n: t.numpy().tobytes() for n, t in tensors.items() if "/log." not in n}
    return selection.checkpoint.manifest.step, state


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, State]:
    """What the job comes to when nobody signals it."""
    folder = tmp_path_factory.mktemp("unbroken")
    (folder / "run.yaml").write_text(RUN)
    with started("--processes", folder) as job:
        assert job.end() == 0, job.output.read_text()
    return newest(folder)


@pytest.mark.parametrize(
    ("launcher", "cell", "time"),
    [
        pytest.param(
            launcher,
            cell,
            time,
            marks=() if (launcher, cell, time) in QUICK else pytest.mark.slow,
        )
        for launcher in LAUNCHERS
        for cell in CELLS
        for time in range(TIMES)
    ],
)
def test_a_signalled_job_saves_that_step_ends_in_order_and_leaves_nobody_behind(
    tmp_path: Path,
    launcher: str,
    cell: str,
    time: int,
    figure: Figure,
    request: pytest.FixtureRequest,
) -> None:
    send, number = CELLS[cell]
    figure(
        "R7", f"{launcher}, 2 ranks with 2 workers, {cell}: saved, closed, exit code, no orphans"
    )
    (tmp_path / "run.yaml").write_text(RUN)
    place, step = PLACES[time % len(PLACES)]
    waits = [
        f"callbacks.waits.{key}={value}"
        for key, value in {"kind": f"{PARTS}.Waits", "place": place, "step": step}.items()
    ]

    with started(launcher, tmp_path, *waits) as job:
        job.wait_until_it_waits()
        family = job.family()
        assert len(family) >= 1 + 2 + 2 * 2
        send(job, number)
        code = job.end()
        left = [process for process in family if process.is_running()]

    told = job.output.read_text()
    assert not left, told
    # torchrun itself ends with 1, and shows what its ranks ended with.
    assert code == (128 + number if launcher == "--processes" else 1), told
    outcome = json.loads((tmp_path / "run" / "outcome.json").read_text())
    assert outcome["status"] == "interrupted", told
    # Ranks agree on a request in the background, within a few steps.
    assert newest(tmp_path)[0] == outcome["step"] >= step, told
    if time % len(PLACES) == 1:
        figure("R7", f"{launcher}, 2 ranks with 2 workers, {cell}: bitwise afterwards")
        unbroken = request.getfixturevalue("unbroken")
        (tmp_path / GO_ON).touch()
        with started(launcher, tmp_path, *waits) as job:
            assert job.end() == 0, job.output.read_text()
        assert newest(tmp_path) == unbroken
