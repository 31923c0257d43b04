"""The schedule ledger knows after a kill what was done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trackside.tracking.schedule_ledger import SCHEDULE, ScheduleLedger


def ledger(folder: Path, run: str = "run", who: str = "tracker") -> ScheduleLedger:
    return ScheduleLedger(folder, run, who)


def test_what_was_done_is_known_to_the_next_life(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    first.note("begun", "picture", 4)
    first.note("done", "picture", 4)
    first.note("begun", "picture", 8)

    second = ledger(tmp_path)

    assert second.is_done("picture", 4)
    assert second.open_work() == [("picture", 8)]


def test_what_is_done_stays_so_and_is_noted_once(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    first.note("done", "picture", 4)
    lines = (tmp_path / SCHEDULE).read_text()

    first.note("begun", "picture", 4)
    first.note("done", "picture", 4)

    assert (tmp_path / SCHEDULE).read_text() == lines


@pytest.mark.parametrize("other", [{"run": "another"}, {"who": "another"}])
def test_lines_of_others_are_left_alone(tmp_path: Path, other: dict[str, str]) -> None:
    ledger(tmp_path, **other).note("done", "picture", 4)

    assert not ledger(tmp_path).is_done("picture", 4)


def test_what_was_done_after_the_step_that_a_run_went_back_to_is_not_done(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    first.note("done", "picture", 4)
    first.note("done", "picture", 8)

    first.rewind(4)

    for one in (first, ledger(tmp_path)):
        assert one.is_done("picture", 4)
        assert not one.is_done("picture", 8)


def test_a_line_that_a_kill_has_cut_is_passed_over(tmp_path: Path) -> None:
    ledger(tmp_path).note("done", "picture", 4)
    with (tmp_path / SCHEDULE).open("a") as file:
        file.write('{"run": "run", "wh')

    assert ledger(tmp_path).is_done("picture", 4)


def test_the_first_record_of_the_callback_is_kept(tmp_path: Path) -> None:
    assert ledger(tmp_path).begins_with is None
    ledger(tmp_path).begin(3)
    ledger(tmp_path).begin(9)

    assert ledger(tmp_path).begins_with == 3


def test_a_ledger_that_cannot_be_written_raises_once_and_where_it_is_asked(
    tmp_path: Path,
) -> None:
    (tmp_path / SCHEDULE).mkdir()
    broken = ledger(tmp_path)
    broken.note("done", "picture", 4)
    broken.note("done", "picture", 8)

    assert broken.is_done("picture", 8)
    with pytest.raises(OSError):
        broken.raise_error()
    broken.raise_error()


# --- memory doesn't grow with the run ----------------------------------------------------------


def known(one: ScheduleLedger) -> int:
    """Pieces of work that it holds in memory."""
    return len(one._open) + len(one._done) + len(one._done_before)


def test_records_of_a_long_run_are_not_all_held_in_memory(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    for step in range(1, 3001):
        first.note("begun", "record a", step)
        first.note("done", "record a", step)
        if step % 500 == 0:
            first.settle(step)
    assert known(first) <= 1000
    assert known(ledger(tmp_path)) == 1, "that of the checkpoint's own step"


def test_each_record_has_one_line_and_a_medium_three(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    first.note("begun", "record a", 4)
    first.note("done", "record a", 4)
    first.note("due", "picture", 4)
    first.note("begun", "picture", 4)
    first.note("done", "picture", 4)
    lines = (tmp_path / SCHEDULE).read_text().splitlines()
    states = [json.loads(line)["state"] for line in lines]
    assert states == ["done", "due", "begun", "done"]


@pytest.mark.parametrize("lives", [1, 2])
def test_of_settled_records_those_that_failed_are_still_to_be_done(
    tmp_path: Path, lives: int
) -> None:
    first = ledger(tmp_path)
    first.note("begun", "record a", 2)  # fails, and is put by
    first.note("done", "record a", 3)
    first.note("done", "record a", 5)
    first.note("due", "picture", 3)
    first.settle(5)
    one = first if lives == 1 else ledger(tmp_path)

    assert not one.is_done("record a", 2)
    assert not one.is_done("picture", 3), "only records are settled"
    assert one.is_done("record a", 3)
    assert one.is_done("record a", 5)
    assert not one.is_done("record b", 5), "the step of the checkpoint may still get records"
    one.note("done", "record a", 2)
    assert ledger(tmp_path).is_done("record a", 2)


@pytest.mark.parametrize("lives", [1, 2])
def test_settled_records_after_the_step_that_a_run_went_back_to_are_not_done(
    tmp_path: Path, lives: int
) -> None:
    first = ledger(tmp_path)
    first.settle(9)
    first.rewind(4)
    one = first if lives == 1 else ledger(tmp_path)

    assert one.is_done("record a", 4)
    assert not one.is_done("record a", 5)


def test_a_ledger_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / SCHEDULE).mkdir()
    with pytest.raises(OSError, match="not a plain file"):
        ledger(tmp_path).raise_error()
