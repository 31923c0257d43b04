"""The commands, for a run that a Python program made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trackside.cli.main import run

PROGRAM = """
import torch
from torch import nn
from torch.utils.data import TensorDataset
from trackside import Program, Settings, Trainer, program
from trackside.callbacks import Checkpoint


def points(count, seed):
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


@program
def line(rate: float = 0.1, epochs: int = 2) -> Program:
    trainer = Trainer(
        lambda: nn.Linear(4, 1),
        loss=nn.MSELoss(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=rate),
        callbacks=[Checkpoint(keep_best=1, monitor="val/loss")],
        settings=Settings(device="cpu", directory="run"),
        seed=0,
    )
    return Program(
        trainer, points(64, 0), points(8, 1), data={"test": points(8, 2)},
        options={"epochs": epochs},
    )


if __name__ == "__main__":
    line(rate=0.05).fit()
"""


@pytest.fixture
def run_made_by_a_script(tmp_path: Path) -> Path:
    """A run in `run`, made by a process of its own; the program lies elsewhere."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "its_own_project.py").write_text(PROGRAM)
    subprocess.run(
        [sys.executable, str(folder / "its_own_project.py")],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return Path("run")


def test_a_run_made_in_python_is_listed_resumed_evaluated(
    run_made_by_a_script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["runs", ".", "--json"]) == 0
    [listed] = json.loads(capsys.readouterr().out)
    assert (listed["folder"], listed["status"], listed["step"]) == ("run", "completed", 4)

    assert run(["resume", "run", "epochs=4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 8
    journal = [json.loads(line) for line in Path("run/journal.jsonl").read_text().splitlines()]
    given = [line["overrides"] for line in journal if line["event"] == "session"]
    assert given == [[], ["epochs=4"]]

    assert run(["evaluate", "run", "test", "--checkpoint", "best", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"test/loss"}


@pytest.mark.parametrize("which", ["2", "odd #1/checkpoints/step-0000000002"])
def test_a_checkpoint_is_named_by_its_step_or_its_path(
    which: str, run_made_by_a_script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_made_by_a_script.rename("odd #1")
    assert run(["resume", "odd #1", "--checkpoint", which, "epochs=3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 6
    journal = Path("odd #1/journal.jsonl").read_text().splitlines()
    begun = [one for line in journal if (one := json.loads(line))["event"] == "session"]
    assert begun[-1]["resumed_from"].endswith("step-0000000002")


def test_an_override_that_is_no_argument_is_refused(
    run_made_by_a_script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["resume", "run", "epochz=4"]) != 0
    assert "did you mean `epochs`?" in capsys.readouterr().err


def test_a_run_of_a_plain_script_says_how_it_can_go_on(
    run_made_by_a_script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = json.loads(Path("run/settings.json").read_text())
    del kept["made_by"]
    Path("run/settings.json").write_text(json.dumps(kept))

    assert run(["resume", "run"]) != 0
    assert "@trackside.program" in capsys.readouterr().err
