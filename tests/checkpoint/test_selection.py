from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoint.states import equal, small_state
from trackside.checkpoint import (
    CheckpointWriter,
    NoValidCheckpointError,
    Saving,
    Selection,
    best_valid,
    candidates,
    newest_valid,
    valid_at_step,
)
from trackside.checkpoint.lookup import find


def save(root: Path, *steps: int, run_id: str = "run") -> None:
    writer = CheckpointWriter(root, run_id, background=False)
    for step in steps:
        writer.save(small_state(step), Saving(step=step, metrics={"val/loss": 1 / step}))


def damage(root: Path, step: int, name: str = "state.json") -> None:
    path = root / f"step-{step:010d}" / name
    path.write_bytes(path.read_bytes()[:-1])


def path_of(selection: Selection | None) -> str | None:
    return None if selection is None else selection.checkpoint.path.name


def step_of(selection: Selection | None) -> int | None:
    return None if selection is None else selection.checkpoint.manifest.step


def test_where_there_is_none_there_is_none(tmp_path: Path) -> None:
    assert newest_valid(tmp_path / "not made yet") is None
    (tmp_path / "step-12").mkdir()
    (tmp_path / ".tmp-run.step-0000000001-ab").mkdir()
    assert newest_valid(tmp_path) is None
    assert best_valid(tmp_path, "val/loss") is None
    assert valid_at_step(tmp_path, 3) is None


def test_the_newest_is_taken(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3)
    selection = newest_valid(tmp_path)
    assert step_of(selection) == 3
    assert selection is not None
    assert selection.passed_over == ()
    assert equal(selection.checkpoint.state(), small_state(3))


def test_newest_is_what_was_saved_last_whatever_its_step(tmp_path: Path) -> None:
    save(tmp_path, 100, 200)
    save(tmp_path, 120)
    assert [each.step for each in candidates(tmp_path)] == [120, 200, 100]


@pytest.mark.parametrize("name", ["manifest.json", "state.json"])
def test_damaged_ones_are_passed_over_and_it_is_said_why(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1, 2, 3)
    damage(tmp_path, 3, name)
    (tmp_path / "step-0000000002" / "state.json").unlink()
    selection = newest_valid(tmp_path)
    assert step_of(selection) == 1
    assert selection is not None
    first, second = map(str, selection.passed_over)
    assert first.startswith(f"step-0000000003: {name}")
    assert second == "step-0000000002: state.json is missing"


def test_an_older_damaged_one_is_not_mentioned(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    damage(tmp_path, 1, "manifest.json")
    selection = newest_valid(tmp_path)
    assert selection is not None
    assert selection.passed_over == ()


def test_when_all_are_damaged_it_is_an_error_and_nothing_is_changed(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    damage(tmp_path, 1)
    damage(tmp_path, 2, "manifest.json")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(NoValidCheckpointError) as caught:
        newest_valid(tmp_path)
    for part in ("none of the 2", "step-0000000001: state.json", "step-0000000002: manifest.json"):
        assert part in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_checkpoints_of_other_runs_can_be_left_out(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2, run_id="other")
    assert step_of(newest_valid(tmp_path)) == 2
    assert step_of(newest_valid(tmp_path, run_id="run")) == 1


def test_the_best_is_taken_in_either_direction(tmp_path: Path) -> None:
    save(tmp_path, 2, 4, 3)
    assert step_of(best_valid(tmp_path, "val/loss")) == 4
    assert step_of(best_valid(tmp_path, "val/loss", "max")) == 2
    assert best_valid(tmp_path, "val/accuracy") is None
    damage(tmp_path, 4)
    selection = best_valid(tmp_path, "val/loss")
    assert step_of(selection) == 3
    assert selection is not None
    assert len(selection.passed_over) == 1


def test_a_step_is_found_in_its_newest_form(tmp_path: Path) -> None:
    save(tmp_path, 5, 6)
    save(tmp_path, 5)
    selection = valid_at_step(tmp_path, 5)
    assert selection is not None
    assert selection.checkpoint.path.name == "step-0000000005-2"
    assert valid_at_step(tmp_path, 7) is None


def test_a_step_means_the_last_state_of_the_run_there_and_a_folder_means_itself(
    tmp_path: Path,
) -> None:
    first = "step-0000000005"
    for run_id in ("mine", "mine", "other"):
        save(tmp_path, 5, run_id=run_id)
    runs = {name: candidates(tmp_path, run_id=name) for name in ("mine", "other")}
    assert [one.path.name for one in runs["mine"]] == [f"{first}-2", first]
    assert [one.path.name for one in runs["other"]] == [f"{first}-3"]

    for which in (5, "5", tmp_path / f"{first}-2", str(tmp_path / f"{first}-2")):
        assert path_of(find(which, tmp_path, None, run_id="mine")) == f"{first}-2"
    for name in (first, f"{first}-3"):
        assert path_of(find(tmp_path / name, tmp_path, None, run_id="mine")) == name
