"""`trackside verify`: honest runs pass, changed ones are refused with the reason."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from tests.proof import programs, tampering
from trackside import Callback, Run, on
from trackside.cli.main import run as command
from trackside.errors import UsageError
from trackside.proof.made_again import made_again
from trackside.proof.verification import segments, verify
from trackside.run_folder import receipts


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 24 steps, saved every 7, with a receipt."""
    folder = tmp_path_factory.mktemp("receipts") / "run"
    programs.receipted(str(folder)).fit()
    return folder


@pytest.fixture
def copy(kept: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    shutil.copytree(kept, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("seed", [0, 1])
def test_an_honest_run_is_verified_with_steps_trained_again(kept: Path, seed: int) -> None:
    found = verify(kept, seed=seed)

    assert (found.problems, found.not_checked) == ([], [])
    assert found.checked[-1].startswith("training: steps ")


@pytest.mark.parametrize("name", tampering.TAMPERS)
def test_a_changed_run_is_refused_with_the_reason(copy: Path, name: str) -> None:
    subject, tamper = tampering.TAMPERS[name]
    tamper(copy, random.Random(0))

    found = verify(copy, steps=0)

    assert {problem.subject for problem in found.problems} >= {subject}


def test_an_edited_receipt_is_refused(copy: Path) -> None:
    text = (copy / "receipt.json").read_text()
    (copy / "receipt.json").write_text(text.replace('"ranks": 1', '"ranks": 2'))

    (problem,) = verify(copy, steps=0).problems

    assert str(problem).startswith("receipt: the entry 'run' isn't the one that was written")


def test_weights_with_a_receipt_computed_again_are_found_by_training(copy: Path) -> None:
    tampering.swapped_with_a_new_receipt(copy, 0)

    assert verify(copy, steps=0).ok
    found = verify(copy, steps=7, seed=3)
    assert [problem.subject for problem in found.problems] == ["training"]


def test_a_signature_refuses_a_receipt_computed_again(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    programs.receipted(str(tmp_path / "run"), key=str(key)).fit()
    assert verify(tmp_path / "run", steps=0, key=key).signature == "valid"
    assert verify(tmp_path / "run", steps=0).signature == "not checked"

    tampering.swapped_with_a_new_receipt(tmp_path / "run", 1)

    (problem,) = verify(tmp_path / "run", steps=0, key=key).problems
    assert str(problem) == "signature: the receipt isn't signed"


def test_other_data_is_refused(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = programs.points
    monkeypatch.setattr(programs, "points", lambda count, seed: points(count, seed + 5))

    found = verify(kept, steps=0)

    assert {problem.subject for problem in found.problems} == {"data"}


def test_a_checkpoint_that_was_added_is_refused(copy: Path) -> None:
    newest = tampering.checkpoints(copy)[-1]
    shutil.copytree(newest, newest.with_name("step-0000000099"))

    (problem,) = verify(copy, steps=0).problems

    assert str(problem) == "checkpoint: step-0000000099 isn't in the receipt"


def test_no_more_steps_are_trained_again_than_allowed(kept: Path) -> None:
    found = verify(kept, steps=2)

    assert found.not_checked == [
        "training: no segment of at most 2 steps lies between two checkpoints"
    ]


def test_a_run_without_a_receipt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no receipt"):
        verify(tmp_path)


def test_a_resumed_run_has_one_receipt_which_names_the_one_before(tmp_path: Path) -> None:
    programs.receipted(str(tmp_path), epochs=2).fit()
    before = receipts.read(tmp_path).seal

    programs.receipted(str(tmp_path), epochs=3).fit(resume="auto")

    assert receipts.read(tmp_path).content("run")["continues"] == before
    assert verify(tmp_path, steps=0).ok


def test_no_segment_touches_a_checkpoint_that_the_run_has_left_behind(tmp_path: Path) -> None:
    programs.receipted(str(tmp_path)).fit()
    origin = tmp_path / "checkpoints" / "step-0000000007"
    programs.receipted(str(tmp_path), every="16 steps").fit(resume=origin)

    found = segments(made_again(tmp_path), receipts.read(tmp_path))

    assert [(one.begins_after, one.ends_after) for one in found] == [(7, 16), (16, 24)]
    assert verify(tmp_path).ok


def test_steps_are_trained_again_without_the_batches_that_the_run_left_out(
    tmp_path: Path,
) -> None:
    @on(Callback.on_step_end)
    def goes_back(run: Run) -> None:
        if run.progress.steps_completed == 10 and not run.rollbacks:
            run.roll_back("once", leave_out=[run.data["train"].identify(1, 1)])

    kept = programs.receipted(str(tmp_path), epochs=2)
    kept.trainer.callbacks.append(goes_back)
    kept.fit()

    for seed in range(3):  # two segments
        assert verify(tmp_path, seed=seed).problems == []


def test_the_command_says_it_and_ends_with_1_when_something_differs(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["verify", str(copy), "--steps", "0"]) == 0
    tampering.record(copy, random.Random(0))

    assert command(["verify", str(copy), "--steps", "0", "--json"]) == 1

    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["problems"] == [
        {"subject": "records", "what": "history.jsonl isn't the file that the run wrote"}
    ]
