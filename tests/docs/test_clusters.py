"""What the page about clusters shows works: its commands run, its script stops and goes on."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "clusters.md").read_text()
FENCE = re.compile(r"^```(?P<info>[^\n`]+)\n(?P<code>.*?)^```$", re.M | re.S)

RUN = """
data:
  train: {kind: points.points, samples: 64}
  batch_size: 8
model: {kind: Linear, in_features: 4, out_features: 2}
loss: cross_entropy
optimizer: {kind: sgd, lr: 0.1}
trainer: {epochs: 3}
callbacks:
  checkpoint: {every: 1 second}
  told: {kind: points.Told}
"""

POINTS = """
import pathlib

import torch
from torch.utils.data import TensorDataset

from trackside import Callback, Run


def points(samples: int) -> TensorDataset:
    inputs = torch.randn(samples, 4, generator=torch.Generator().manual_seed(0))
    return TensorDataset(inputs, (inputs.sum(1) > 0).long())


class Told(Callback):
    '''Says that training goes on.'''

    def on_fit_start(self, run: Run) -> None:
        pathlib.Path(f"started-{run.world.rank}").touch()
"""


def blocks(info: str) -> list[str]:
    return [match["code"] for match in FENCE.finditer(PAGE) if match["info"] == info]


def torchruns() -> list[list[str]]:
    """The torchrun commands in the shell blocks and in the manifest, as words."""
    text = "\n".join(blocks("bash")).replace("\\\n", " ")
    found = [shlex.split(line) for line in text.splitlines() if line.startswith("torchrun")]
    job = next(d for d in yaml.safe_load_all(blocks("yaml manifest")[0]) if d["kind"] == "Job")
    return [*found, job["spec"]["template"]["spec"]["containers"][0]["command"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a run, and the programs of a cluster that has this machine only."""
    (tmp_path / "run.yaml").write_text(RUN)
    (tmp_path / "points.py").write_text(POINTS)
    programs = {
        "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
        "trackside": f'exec {sys.executable} -m trackside "$@"',
        "srun": 'exec "$@"',
        "scontrol": '[ "$1" = show ] && echo 127.0.0.1 || echo "$@" >> scontrol.log',
    }
    for name, line in programs.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/bash\n{line}\n")
        program.chmod(0o755)
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("TORCHELASTIC_")},
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_NODELIST": "here",
        "SLURM_GPUS_ON_NODE": "2",
    }


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "runs" / "mine" / "checkpoints").glob("step-*"))


def ended_within(job: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the job ends while one waits for so long."""
    try:
        job.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def test_every_torchrun_has_options_that_exist() -> None:
    from torch.distributed.run import get_args_parser

    parser = get_args_parser()
    commands = torchruns()
    assert len(commands) >= 3
    for command in commands:
        parsed = parser.parse_args(command[1:])
        assert parsed.module
        assert [parsed.training_script, *parsed.training_script_args[:2]] == [
            "trackside",
            "train",
            "run.yaml",
        ]


@pytest.mark.distributed
def test_the_command_for_one_machine_trains(folder: Path) -> None:
    [command] = [c for c in torchruns() if "--standalone" in c]

    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert (folder / "started-1").exists(), "two ranks"


@pytest.mark.distributed
@pytest.mark.timeout(300)  # torchrun is started twice
def test_the_slurm_script_stops_in_time_and_goes_on_when_it_is_started_again(folder: Path) -> None:
    script = folder / "job.sh"
    [text] = blocks("bash script")
    script.write_text(text.replace('"$first:29500"', '"$first:0"'))  # any free port
    (folder / "run.yaml").write_text(RUN.replace("epochs: 3", "epochs: 1_000_000"))

    job = subprocess.Popen(["bash", script.name], cwd=folder, env=environment(folder))
    try:
        while not (folder / "started-1").exists() or not checkpoints(folder):
            assert not ended_within(job, 0.05), "the job ended before it was told to"
        job.send_signal(signal.SIGUSR1)
        assert job.wait() == 0
    finally:
        for process in psutil.process_iter():
            if process.ppid() == job.pid:
                process.kill()
    assert (folder / "scontrol.log").read_text() == "requeue 1\n"
    stopped = checkpoints(folder)

    (folder / "run.yaml").write_text(RUN)  # which it has reached long ago
    again = subprocess.run(
        ["bash", script.name],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )

    assert again.returncode == 0, again.stderr
    ended = re.search(r"completed at step ([\d,]+)", again.stdout)
    assert ended, again.stdout
    steps = int(ended[1].replace(",", ""))
    saved = int(stopped[-1].split("-")[1])  # `step-24-2` is a second save of that step
    assert steps == saved > 24, "it went on from there"
    assert (folder / "scontrol.log").read_text() == "requeue 1\n", "once"


@pytest.mark.timeout(180)  # trackside is started twice
def test_the_slurm_script_for_one_process_requeues_its_job_once_saved(folder: Path) -> None:
    script = folder / "job.sh"
    [text] = blocks("bash single")
    script.write_text(text)
    (folder / "run.yaml").write_text(RUN.replace("epochs: 3", "epochs: 1_000_000"))

    job = subprocess.Popen(["bash", script.name], cwd=folder, env=environment(folder))
    try:
        while not (folder / "started-0").exists():
            assert not ended_within(job, 0.05), "the job ended before it was told to"
        job.send_signal(signal.SIGUSR1)  # `exec`: the job's process is the one that trains
        assert job.wait() == 128 + signal.SIGUSR1
    finally:
        job.kill()
    assert (folder / "scontrol.log").read_text() == "requeue 1\n"
    assert checkpoints(folder)
