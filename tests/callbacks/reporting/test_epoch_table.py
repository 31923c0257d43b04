from __future__ import annotations

import io

import pytest

from trackside import records
from trackside.callbacks.reporting.epoch_table import EpochTable
from trackside.callbacks.reporting.progress_bar import ProgressBar
from trackside.testing import ScriptedRun, script, tiny_regression


def test_each_epoch_has_a_row_below_one_header(plain: io.StringIO) -> None:
    script(EpochTable(), [{"train/loss": 0.5, "val/loss": 0.6}, {"val/loss": 0.4}])

    header, first, second = plain.getvalue().splitlines()
    assert header.split() == ["epoch", "step", "train/loss", "val/loss", "seconds"]
    assert first.split()[:4] == ["1", "4", "0.5000", "0.6000*"]
    assert second.split()[0] == "2"


def test_only_a_value_that_beats_all_before_has_a_star(plain: io.StringIO) -> None:
    script(EpochTable(), [{"val/loss": value} for value in (0.5, 0.6, 0.5, 0.4, 0.4)])

    starred = ["*" in line for line in plain.getvalue().splitlines()[1:]]
    assert starred == [True, False, False, True, False]


def test_a_column_that_comes_later_gets_a_new_header(plain: io.StringIO) -> None:
    script(EpochTable(), [{"train/loss": 0.5}, {"train/loss": 0.5, "val/loss": 0.6}])

    lines = plain.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["epoch", "1", "epoch", "2"]


def test_chosen_columns_alone_are_shown(plain: io.StringIO) -> None:
    script(EpochTable(["val/loss"]), [{"train/loss": 0.5, "val/loss": 0.6}])

    assert plain.getvalue().splitlines()[0].split() == ["epoch", "step", "val/loss", "seconds"]


def test_an_epoch_cut_short_is_marked(plain: io.StringIO) -> None:
    task = tiny_regression()

    task.trainer(callbacks=[EpochTable()]).fit(task.train, steps=4)

    rows = [line.split()[:2] for line in plain.getvalue().splitlines()[1:]]
    assert rows == [["1", "3"], ["2...", "4"]]


def test_an_evaluation_after_the_last_epoch_has_a_row(plain: io.StringIO) -> None:
    task = tiny_regression()

    task.trainer(callbacks=[EpochTable()]).fit(task.train, task.validation, steps=2)

    assert plain.getvalue().splitlines()[-1].split()[:2] == ["end", "2"]


def test_rows_appear_above_the_bar(tty: io.StringIO) -> None:
    script([ProgressBar(), EpochTable()], [{"val/loss": 0.5}] * 2, epochs=2)

    shown = tty.getvalue()
    assert shown.rindex("0.5000") < shown.rindex("step 8/8")


def test_lines_longer_than_the_terminal_are_not_cut(plain: io.StringIO) -> None:
    metrics = {f"val/metric_number_{index}": 0.5 for index in range(9)}

    script(EpochTable(), [metrics])

    assert len(plain.getvalue().splitlines()) == 2


def test_a_second_fit_begins_with_a_header(plain: io.StringIO) -> None:
    table = EpochTable()
    for _ in range(2):
        ScriptedRun(table).play([{"val/loss": 0.5}])

    assert plain.getvalue().count("epoch") == 2


def test_an_evaluation_within_an_epoch_has_a_row(plain: io.StringIO) -> None:
    task = tiny_regression()
    trainer = task.trainer(callbacks=[EpochTable()])

    trainer.fit(task.train, task.validation, steps=4, evaluate_every="2 steps")

    rows = [line.split()[:2] for line in plain.getvalue().splitlines() if "epoch" not in line]
    assert rows == [["1...", "2"], ["1", "3"], ["2...", "4"]]


def test_a_row_looks_at_the_best_so_far_and_not_at_all_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[str] = []
    points = records.Columns.points

    def count(self: records.Columns, name: str) -> list[tuple[int, float]]:
        looked.append(name)
        return points(self, name)

    monkeypatch.setattr(records.Columns, "points", count)

    script(EpochTable(), [{"val/loss": 1 / epoch} for epoch in range(1, 20)])

    assert looked == ["val/loss"]  # once, however many rows


def test_an_evaluation_at_the_last_step_of_an_epoch_has_the_row_of_the_epoch(
    plain: io.StringIO,
) -> None:
    task = tiny_regression(samples=8)
    trainer = task.trainer(callbacks=[EpochTable()])
    trainer.fit(task.train, task.validation, epochs=2, evaluate_every="1 step")

    rows = [line.split()[:2] for line in plain.getvalue().splitlines() if "epoch" not in line]
    assert rows == [["1...", "1"], ["1", "2"], ["2...", "3"], ["2", "4"]]


def test_an_evaluation_at_the_last_step_of_a_run_has_one_row(plain: io.StringIO) -> None:
    task = tiny_regression(samples=8)
    trainer = task.trainer(callbacks=[EpochTable()])
    trainer.fit(task.train, task.validation, steps=3, evaluate_every="1 step")

    rows = [line.split()[:2] for line in plain.getvalue().splitlines() if "epoch" not in line]
    assert rows == [["1...", "1"], ["1", "2"], ["2...", "3"]]
