from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.config.files import good, write
from trackside.cli.main import run
from trackside.run_folder.claim import claim

ROOT = Path(__file__).parents[2]
MORE = """\
evaluate: [val]
metrics: {accuracy: accuracy}
callbacks:
  checkpoint: {every: 1 epoch, keep_last: null, keep_best: 1, monitor: val/loss}
"""


def trained(*arguments: str, epochs: int = 2) -> None:
    write(good(("epochs: 1", f"epochs: {epochs}"), more=MORE))
    assert run(["train", "run.yaml", *arguments]) == 0


def as_json(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> Any:
    capsys.readouterr()
    assert run([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


# --- resume ------------------------------------------------------------------------------------


def test_a_run_goes_on_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    trained()
    told = as_json(["resume", "run", "trainer.epochs=4"], capsys)
    assert isinstance(told, dict)
    assert (told["status"], told["step"]) == ("completed", 8)
    kept = Path("run/config.yaml").read_text()
    assert "resume" not in kept, "the folder keeps what the run was begun with"


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trained("trainer.directory=broken")
    assert run(["resume", "broken", "trainer.epochs=4"]) == 0
    trained("trainer.directory=whole", epochs=4)
    broken = as_json(["evaluate", "broken"], capsys)
    assert broken == as_json(["evaluate", "whole"], capsys)


def test_an_override_without_effect_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    trained()
    for override in ("optimizer.lr=0.5", "~optimizer.lr", "optimizer={kind: adam}", "seed=9"):
        capsys.readouterr()
        assert run(["resume", "run", override]) == 2
        assert "has no effect on a resumed run" in capsys.readouterr().err


def test_train_can_resume_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    trained()
    told = as_json(["train", "run.yaml", "trainer.epochs=3", "--resume", "auto"], capsys)
    assert isinstance(told, dict)
    assert told["step"] == 6


@pytest.mark.parametrize("command", [["resume", "a #b: c"], ["train", "run.yaml"]])
def test_the_path_of_a_checkpoint_is_taken_as_it_is_written(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    trained()
    Path("run").rename("a #b: c")
    option = "--checkpoint" if command[0] == "resume" else "--resume"
    place = "a #b: c/checkpoints/step-0000000004"

    told = as_json([*command, "trainer.epochs=3", option, place], capsys)

    assert told["step"] == 6
    folder = Path(told["directory"])
    journal = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    begun = [line for line in journal if line["event"] == "session"][-1]["resumed_from"]
    assert begun.endswith("step-0000000004")


def test_modules_beside_the_original_file_are_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "only_there.py").write_text("from tests.config.parts import Net\n")
    write(good(("tests.config.parts.Net", "only_there.Net"), more=MORE), "elsewhere/run.yaml")
    for command in (["train", "elsewhere/run.yaml"], ["resume", "run", "trainer.epochs=2"]):
        done = subprocess.run(
            [sys.executable, "-m", "trackside", *command],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["resume", "evaluate"])
def test_a_folder_without_a_run_is_refused(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "nowhere"]) == 2
    assert "there is no run in nowhere" in capsys.readouterr().err


def test_a_killed_session_is_gone_on_with_what_it_was_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path("my run")
    trained(f"trainer.directory={folder}")
    more = "trainer.epochs=4"
    assert run(["resume", str(folder), more, "callbacks.checkpoint.keep_last=3"]) == 0
    (folder / "outcome.json").unlink()  # as after a kill

    [told] = as_json(["why", str(folder)], capsys)
    remedy = next(one["remedy"] for one in told["findings"] if one["subject"] == "killed")

    command = remedy.partition("; ")[0]
    assert command == f"trackside resume 'my run' {more} callbacks.checkpoint.keep_last=3"


def test_a_resume_that_lacks_what_the_session_before_was_given_warns_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trained()
    assert run(["resume", "run", "trainer.epochs=3"]) == 0
    assert run(["resume", "run", "trainer.epochs=4"]) == 0, "another value is given on purpose"
    assert run(["resume", "run"]) == 0
    assert run(["resume", "run"]) == 0

    journal = [json.loads(line) for line in Path("run/journal.jsonl").read_text().splitlines()]
    given = [line["overrides"] for line in journal if line["event"] == "session"]
    assert given == [[], ["trainer.epochs=3"], ["trainer.epochs=4"], [], []]
    assert "what differs" not in caplog.text
    [warned] = [line["text"] for line in journal if line["event"] == "warning"]
    assert warned.startswith("the session before was given trainer.epochs=4, and this one was not")


def test_a_second_start_that_is_refused_leaves_the_outcome_and_the_journal_alone() -> None:
    trained()
    files = ("outcome.json", "journal.jsonl")
    before = [Path("run", name).read_bytes() for name in files]

    held = claim(Path("run"))
    assert held is not None
    assert run(["resume", "run", "trainer.epochs=4"]) == 2, "another run has the folder"
    held.release()
    assert run(["resume", "run", "--checkpoint", "17"]) != 0, "there is no such checkpoint"

    assert [Path("run", name).read_bytes() for name in files] == before


def test_a_run_that_is_alive_can_be_asked_whatever_outcome_its_folder_has() -> None:
    trained()
    assert run(["ask", "run", "stop", "--wait", "0"]) == 2, "it has ended"

    held = claim(Path("run"))
    assert held is not None
    assert run(["ask", "run", "stop", "--wait", "0"]) == 0
    held.release()


# --- evaluate, predict -------------------------------------------------------------------------


def test_a_checkpoint_is_evaluated_as_it_was_in_training(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trained()
    best = json.loads(Path("run/outcome.json").read_text())["best"]["val/loss"]
    metrics = as_json(["evaluate", "run", "val", "--checkpoint", "best"], capsys)
    assert isinstance(metrics, dict)
    assert metrics["val/loss"] == best["value"]
    by_step = as_json(["evaluate", "run", "val", "--checkpoint", str(best["step"])], capsys)
    assert by_step == metrics


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tset"], "there is no data named 'tset'"),
        (["--checkpoint", "77"], "there is no checkpoint for '77'"),
        (["--checkpoint", "newest"], "'newest' names no checkpoint"),
    ],
)
def test_what_can_not_be_evaluated_is_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trained()
    assert run(["evaluate", "run", *arguments]) in (1, 2)
    assert words in capsys.readouterr().err


def test_predictions_are_arrays_in_the_order_of_the_data() -> None:
    trained()
    assert run(["predict", "run", "val"]) == 0
    with np.load("run/val.npz", allow_pickle=False) as kept:
        assert kept["prediction"].shape == (8, 2)


@pytest.mark.parametrize(
    "output", ["out.txt", "out", "folder", "folder.npz", "run.yaml/out.npz", "s3://bucket/x.npz"]
)
def test_a_place_that_predictions_cannot_be_written_to_is_refused_before_predicting(
    output: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained()
    Path("folder.npz").mkdir()
    monkeypatch.setattr("trackside.config.experiment.kept.predict_kept", None)

    assert run(["predict", "run", "val", "--output", output]) == 2

    assert "--output" in capsys.readouterr().err
    assert not list(Path().rglob("*.npz.npz"))


# --- where a command writes --------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["init", "run.yaml"],
        ["init", "run.yaml/mine"],
        ["report", "run", "-o", "run.yaml/x.html"],
        ["report", "run", "--live", "--port", "99999"],
        ["callbacks", "--pages", "run.yaml"],
        ["callbacks", "--index", "run.yaml/x.py"],
        ["observe", "run", "csv_logger", "--into", "run.yaml"],
        ["replay", "run", "--step", "4", "--into", "run.yaml"],
        ["replay", "run", "--step", "4", "--save-batch", "run.yaml/x.safetensors"],
        ["replay", "run", "--step", "4", "--save-batch", "run"],
    ],
)
def test_a_place_that_is_taken_by_a_file_is_refused_before_any_work(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained()
    before = Path("run.yaml").read_bytes()
    monkeypatch.setattr("trackside.proof.retrace.retrace", None)
    capsys.readouterr()

    assert run(arguments) == 2

    told = capsys.readouterr()
    assert "Traceback" not in told.err
    assert any(words in told.err for words in ("is a file", "is a folder", "'--port'"))
    assert told.out == ""
    assert Path("run.yaml").read_bytes() == before


# --- inspect -----------------------------------------------------------------------------------


def test_the_checkpoints_of_a_run_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    trained()
    listed = as_json(["inspect", "run"], capsys)
    assert isinstance(listed, list)
    assert {one["step"] for one in listed} == {4}
    assert all(one["problem"] is None for one in listed)


def test_a_checkpoint_is_told_with_what_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    trained()
    capsys.readouterr()
    assert run(["inspect", "run/checkpoints/step-0000000004", "--tensors"]) == 0
    shown = capsys.readouterr().out
    assert "\nverified\n" in shown
    assert "linear.weight  float32 2x2" in shown
    assert "val/loss" in shown


def test_a_damaged_checkpoint_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    trained()
    state = Path("run/checkpoints/step-0000000004/state.json")
    state.write_bytes(state.read_bytes()[:-1])
    assert run(["inspect", str(state.parent)]) == 1
    assert "DAMAGED" in capsys.readouterr().out


# --- runs --------------------------------------------------------------------------------------


def test_runs_are_listed_with_how_they_ended(capsys: pytest.CaptureFixture[str]) -> None:
    trained("trainer.directory=runs/one")
    trained("trainer.directory=runs/two", "callbacks.x={kind: tests.config.parts.Stopping}")
    Path("runs/two/outcome.json").unlink()
    listed = as_json(["runs"], capsys)
    assert isinstance(listed, list)
    told = {Path(one["folder"]).name: (one["status"], one["step"]) for one in listed}
    assert told == {"one": ("completed", 4), "two": ("unfinished", None)}
    assert run(["runs"]) == 0
    assert "completed" in capsys.readouterr().out


def test_no_runs_are_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs"]) == 0
    assert capsys.readouterr().out == "no runs in runs\n"


def test_a_failed_run_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    write(good(more="callbacks: {x: {kind: tests.config.parts.Failing}}\n"))
    assert run(["train", "run.yaml"]) == 1
    [kept] = as_json(["runs", "."], capsys)
    assert kept["status"] == "failed"
    assert "ZeroDivisionError" in kept["reason"]


# --- several processes -------------------------------------------------------------------------


@pytest.mark.distributed
def test_training_in_two_processes_ends_as_one_run() -> None:
    write(good(("  directory: run\n", ""), more=MORE))
    done = subprocess.run(
        [sys.executable, "-m", "trackside", "train", "run.yaml", "--processes", "2", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == "completed"
    assert len(list(Path("runs").iterdir())) == 1


@pytest.mark.distributed
def test_a_wrong_file_is_told_once_before_any_process_is_started() -> None:
    write(good(("lr: 0.1", "lr: x")))
    done = subprocess.run(
        [sys.executable, "-m", "trackside", "train", "run.yaml", "--processes", "2"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 2
    assert done.stderr.count("optimizer.lr") == 1
