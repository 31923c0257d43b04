"""The stand-in accelerator is as strict as a real one; the engine's tests hold on it.

It can't be taken away again, so that each test starts a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="torch has devices that are written in Python from 2.10 on",
)
SETUP = """
import torch
from tests import standin
standin.install()
here, there = torch.ones(3), torch.ones(3).to("standin")
"""


def run(program: str, repository: Path) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", SETUP + program],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    return finished.stdout + finished.stderr


@pytest.mark.parametrize(
    "mixture",
    [
        "here + there",
        "torch.stack([here.sum(), there.sum()])",
        "torch.equal(here, there)",
        "torch.nn.Linear(3, 1)(there)",
    ],
)
def test_tensors_of_two_devices_do_not_mix(mixture: str, repository: Path) -> None:
    assert "at least two devices, standin:0 and cpu" in run(mixture, repository)


def test_memory_of_the_device_is_not_the_host_s(repository: Path) -> None:
    assert "can't convert standin:0 device type tensor to numpy" in run("there.numpy()", repository)


def test_reading_a_value_counts_as_a_wait_and_a_copy_in_the_background_does_not(
    repository: Path,
) -> None:
    program = """
with standin.waits() as count:
    there.sum() * 2
    there.to("cpu", non_blocking=True)
    before = count()
    there.sum().item(), there.cpu(), there.tolist()
print(before, count())
"""
    assert run(program, repository) == "0 3\n"


OFFLINE_LOSS = "tests/callbacks/evaluation/test_offline_loss.py"


def test_means_steps_and_sums_are_right_on_an_accelerator(repository: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    finished = subprocess.run(
        [*command, "tests/step", OFFLINE_LOSS],
        cwd=repository,
        env={**os.environ, "TRACKSIDE_TEST_DEVICE": "standin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-4000:]
