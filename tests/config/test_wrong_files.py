"""Every mistake that we could think of, and the exact words that a person gets for it.

The table is `wrong_files.txt`: a file, the overrides on the command line (`$ key=value`), and the
message. Positions, carets and remedies are part of what is promised.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.config.files import good, write
from trackside.config import ExperimentError, load

TABLE = Path(__file__).with_name("wrong_files.txt")


def cases() -> list[tuple[str, str, list[str], str]]:
    found = []
    for case in TABLE.read_text(encoding="utf-8").removeprefix("=== ").split("\n\n=== "):
        head, message = case.rstrip("\n").split("\n--- message\n")
        name, _, body = head.partition("\n")
        lines = body.split("\n")
        overrides = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        text = "\n".join(line for line in lines if not line.startswith("$ ")) + "\n"
        found.append((name, text, overrides, message))
    return found


@pytest.mark.parametrize(
    ("text", "overrides", "message"), [pytest.param(*case[1:], id=case[0]) for case in cases()]
)
def test_a_wrong_file_is_told_in_these_words(
    text: str, overrides: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKSIDE_TEST_RATE", "0.1")
    write(text)
    with pytest.raises(ExperimentError) as caught:
        load("run.yaml", overrides).run()
    assert "\n\n".join(map(str, caught.value.problems)) == message
    assert not Path("run").exists(), "nothing may be written before everything is checked"


def test_the_table_has_at_least_forty_files() -> None:
    names = [case[0] for case in cases()]
    assert len(names) == len(set(names)) >= 40


def test_all_problems_of_a_file_come_at_once() -> None:
    write("sede: 1\nmodel: 3\ndata: {trian: {kind: x.y}}\ntrainer: {epochs: one}\n")
    with pytest.raises(ExperimentError) as caught:
        load("run.yaml")
    paths = {".".join(map(str, problem.path)) for problem in caught.value.problems}
    assert {"sede", "model", "data", "trainer.epochs", "optimizer"} <= paths
    assert "problems in the configuration; nothing was started." in str(caught.value)


def test_a_problem_is_there_for_tools_as_well() -> None:
    write("model: [1\n")
    with pytest.raises(ExperimentError) as caught:
        load("run.yaml")
    assert caught.value.problems[0].as_dict() == {
        "message": "a `[` or `{` is not closed, or a comma is missing",
        "source": "run.yaml",
        "line": 1,
        "column": 8,
        "path": None,
        "expected": None,
        "received": None,
        "remedy": None,
    }


ONE_CYCLE = "torch.optim.lr_scheduler.OneCycleLR"
LOOK = """
import sys
from trackside.config import ExperimentError, load
try:
    load("run.yaml")
except ExperimentError as error:
    print(len(error.problems), *sorted({"torch", "torch._dynamo"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model:\n\tkind: x\n", "1"),
        (good(more="callbacks: {stopping: {}}\n"), "1 torch"),
        (
            good(more=f"scheduler: {{kind: {ONE_CYCLE}, max_lr: 0.1, total_steps: -1}}\n"),
            "1 torch",
        ),
    ],
    ids=["unreadable", "sound optimizer", "wrong scheduler"],
)
def test_a_wrong_file_is_told_before_what_takes_long_is_imported(text: str, told: str) -> None:
    write(text)
    repository = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        env={**os.environ, "PYTHONPATH": repository},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == told
