from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.checkpoint.states import small_state
from trackside.checkpoint import CheckpointWriter, Retention, Saving, newest_valid, verify
from trackside.checkpoint.ledger import Ledger
from trackside.checkpoint.pruning import prune

LAST = Retention(keep_last=1)


def saved(root: Path, run_id: str, *steps: int) -> Ledger:
    writer = CheckpointWriter(root, run_id, background=False)
    for step in steps:
        writer.save(small_state(step), Saving(step=step))
    return Ledger(root, run_id)


def steps_in(root: Path) -> list[str]:
    return sorted(path.name.removeprefix("step-00000000") for path in root.glob("step-*"))


def test_what_no_rule_keeps_is_deleted_and_no_longer_listed(tmp_path: Path) -> None:
    ledger = saved(tmp_path, "run", 1, 2, 3)
    assert prune(ledger, LAST).deleted == ("step-0000000001", "step-0000000002")
    assert steps_in(tmp_path) == ["03"]
    assert [entry.step for entry in Ledger(tmp_path, "run").entries] == [3]
    assert list(tmp_path.glob(".tmp-*")) == []


def test_the_checkpoints_of_another_run_are_left_alone(tmp_path: Path) -> None:
    saved(tmp_path, "other", 1, 2)
    prune(saved(tmp_path, "run", 3, 4), LAST)
    assert steps_in(tmp_path) == ["01", "02", "04"]


def test_a_folder_that_is_no_longer_what_the_run_wrote_is_left_alone(tmp_path: Path) -> None:
    ledger = saved(tmp_path, "run", 1, 2)
    shutil.rmtree(tmp_path / "step-0000000001")
    saved(tmp_path, "other", 1)
    assert prune(ledger, LAST).deleted == ()
    assert steps_in(tmp_path) == ["01", "02"]


def test_a_file_that_somebody_put_into_the_folder_stays(tmp_path: Path) -> None:
    ledger = saved(tmp_path, "run", 1, 2)
    (tmp_path / "step-0000000001" / "notes.txt").write_text("mine")
    prune(ledger, LAST)
    assert os.listdir(tmp_path / "step-0000000001") == ["notes.txt"]


def test_the_files_that_a_link_points_to_stay(tmp_path: Path) -> None:
    ledger = saved(tmp_path, "run", 1, 2)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "step-0000000001").rename(tmp_path / "elsewhere" / "one")
    (tmp_path / "step-0000000001").symlink_to(tmp_path / "elsewhere" / "one")
    prune(ledger, LAST)
    assert verify(tmp_path / "elsewhere" / "one").ok


def test_the_checkpoint_resumed_from_stays_until_a_newer_one_verifies(tmp_path: Path) -> None:
    saved(tmp_path, "run", 1)
    writer = CheckpointWriter(
        tmp_path,
        "run",
        background=False,
        retention=LAST,
        resumed_from=tmp_path / "step-0000000001",
    )
    ledger = Ledger(tmp_path, "run")
    prune(ledger, LAST)
    assert steps_in(tmp_path) == ["01"]
    writer.save(small_state(2), Saving(step=2))
    assert steps_in(tmp_path) == ["02"]


def test_a_newer_one_that_is_damaged_does_not_free_the_one_resumed_from(tmp_path: Path) -> None:
    ledger = saved(tmp_path, "run", 1, 2)
    ledger.protect("step-0000000001")
    state = tmp_path / "step-0000000002" / "state.json"
    state.write_bytes(state.read_bytes()[:-1])
    assert prune(ledger, LAST).deleted == ()
    selection = newest_valid(tmp_path)
    assert selection is not None
    assert selection.checkpoint.manifest.step == 1


def test_what_a_run_left_behind_takes_no_place_of_what_it_came_through(tmp_path: Path) -> None:
    saved(tmp_path, "run", 7, 14)
    writer = CheckpointWriter(
        tmp_path,
        "run",
        background=False,
        retention=Retention(keep_last=2),
        resumed_from=tmp_path / "step-0000000007",
    )
    writer.save(small_state(9), Saving(step=9))
    assert steps_in(tmp_path) == ["07", "09", "14"], "no rule keeps anything shorter for it"
    writer.save(small_state(11), Saving(step=11))
    assert steps_in(tmp_path) == ["09", "11"]


def test_what_could_not_be_deleted_is_noted_and_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = saved(tmp_path, "run", 1, 2)

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr(os, "rename", refuse)
    pruned = prune(ledger, LAST)
    assert pruned.deleted == ()
    [note] = pruned.notes
    assert "step-0000000001" in note
    assert "Permission denied" in note


def test_a_kill_while_deleting_leaves_no_half_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = saved(tmp_path, "run", 1, 2)

    def killed(path: Path) -> None:
        os.unlink(path / "state.json")
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        prune(ledger, LAST)
    monkeypatch.undo()
    assert steps_in(tmp_path) == ["02"]
    CheckpointWriter(tmp_path, "run")
    assert list(tmp_path.glob(".tmp-*")) == []
    assert [entry.step for entry in Ledger(tmp_path, "run").entries] == [2]
