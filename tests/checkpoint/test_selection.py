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


# --- a run that was resumed from an earlier one ------------------------------------------------


def taken_back(root: Path, *steps: int, to: int | Path, run_id: str = "run") -> None:
    """Go on from an earlier checkpoint, and save these steps."""
    origin = to if isinstance(to, Path) else root / f"step-{to:010d}"
    writer = CheckpointWriter(root, run_id, background=False, resumed_from=origin)
    for step in steps:
        writer.save(small_state(step), Saving(step=step, metrics={"val/loss": 1 / step}))


def test_before_its_next_save_the_run_stands_where_it_was_taken_back_to(tmp_path: Path) -> None:
    save(tmp_path, 7, 14)
    taken_back(tmp_path, to=7)
    selection = newest_valid(tmp_path, run_id="run")
    assert step_of(selection) == 7
    assert selection is not None
    [left] = selection.passed_over
    assert str(left).startswith("step-0000000014: the run was taken back")


def test_a_damaged_save_of_the_new_way_leads_to_its_origin_and_not_to_the_old_way(
    tmp_path: Path,
) -> None:
    save(tmp_path, 7, 14)
    taken_back(tmp_path, 9, to=7)
    damage(tmp_path, 9)
    assert step_of(newest_valid(tmp_path)) == 7


def test_the_best_is_one_that_the_run_has_come_through(tmp_path: Path) -> None:
    save(tmp_path, 7, 14)
    taken_back(tmp_path, 9, to=7)
    assert step_of(best_valid(tmp_path, "val/loss")) == 9


def test_a_step_means_that_of_the_way_that_counts(tmp_path: Path) -> None:
    save(tmp_path, 7, 9, 14)
    taken_back(tmp_path, 9, to=7)
    assert path_of(valid_at_step(tmp_path, 9)) == "step-0000000009-2"
    assert step_of(valid_at_step(tmp_path, 14)) == 14, "one that was left behind can be named"


def test_what_was_left_behind_counts_again_where_the_run_goes_on_from_it(tmp_path: Path) -> None:
    save(tmp_path, 7, 14)
    taken_back(tmp_path, 9, to=7)
    taken_back(tmp_path, to=14)
    assert {one.step for one in candidates(tmp_path) if one.left_behind} == {9}
    assert step_of(newest_valid(tmp_path)) == 14


def test_going_on_from_the_newest_leaves_nothing_behind(tmp_path: Path) -> None:
    save(tmp_path, 7, 14)
    taken_back(tmp_path, 21, to=14)
    assert not any(one.left_behind for one in candidates(tmp_path))


def test_the_same_folder_by_another_name_is_the_same(tmp_path: Path) -> None:
    save(tmp_path / "real", 7, 14)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    taken_back(tmp_path / "real", to=tmp_path / "link" / "step-0000000014")
    assert not any(one.left_behind for one in candidates(tmp_path / "real"))


def test_another_run_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    save(tmp_path, 7, 14)
    save(tmp_path, 8, 16, run_id="other")
    taken_back(tmp_path, to=7)
    assert step_of(newest_valid(tmp_path, run_id="other")) == 16


def test_from_another_folder_it_goes_back_there_until_it_has_saved(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    save(there, 7)
    save(here, 8, 9)
    origin = there / "step-0000000007"
    taken_back(here, to=origin)
    assert step_of(newest_valid(here, run_id="run", otherwise=origin)) == 7
    with pytest.raises(NoValidCheckpointError, match="behind, and saved none since") as raised:
        newest_valid(here, run_id="run")
    assert "resume=PATH" in str(raised.value)
    taken_back(here, 10, to=origin)
    assert step_of(newest_valid(here, run_id="run", otherwise=origin)) == 10
