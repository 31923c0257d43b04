from __future__ import annotations

import math

import pytest

from trackside.callbacks.reporting.epoch_rows import Columns, folded, is_best, way_of


def test_columns_stay_straight_from_header_to_row() -> None:
    columns = Columns()
    columns.widen(["val/loss"])

    row = columns.row("3", 1200, 12.34, {"val/loss": 0.5}, lambda name, value: True)

    assert folded(columns.header(), None) == " epoch       step   val/loss    seconds"
    assert folded(row, None) == "     3      1,200     0.5000*      12.3"


def test_a_value_that_is_missing_leaves_a_gap() -> None:
    columns = Columns()
    columns.widen(["val/loss"])

    row = columns.row("1", 1, 0.0, {}, lambda name, value: True)

    assert folded(row, None).split() == ["1", "1", "0.0"]


def test_only_new_names_make_a_new_header() -> None:
    columns = Columns()

    assert [columns.widen(["a"]), columns.widen(["a"]), columns.widen(["b", "a"])] == [
        True,
        False,
        True,
    ]
    assert columns.names == ["a", "b"]


def test_a_value_is_best_when_none_before_beats_it() -> None:
    assert is_best(0.1, 0.1, "min")
    assert is_best(0.1, None, "min")
    assert not is_best(0.25, 0.2, "min")
    assert is_best(9.0, 8.0, "max")


def test_only_metrics_of_known_direction_get_a_star_and_never_the_loss_of_training() -> None:
    assert way_of("val/margin", {}) is None
    assert way_of("val/margin", {"val/margin": "max"}) == "max"
    assert way_of("val/loss", {}) == "min"
    assert way_of("train/loss", {}) is None


def test_nan_is_never_best() -> None:
    assert not is_best(math.nan, None, "min")


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_a_line_is_folded_between_cells_and_none_is_lost(columns: int) -> None:
    table = Columns()
    table.widen([f"val/metric_{number}" for number in range(9)])

    for cells in (table.header(), table.row("1", 7, 0.5, {"val/metric_8": 2.0}, lambda *_: False)):
        lines = folded(cells, columns).splitlines()
        assert max(map(len, lines)) <= columns
        assert " ".join(lines).split() == " ".join(cells).split()


def test_parts_of_a_folded_row_stand_under_their_names() -> None:
    table = Columns()
    table.widen(["val/a", "val/b", "val/c"])
    row = table.row("1", 7, 0.5, {"val/a": 1.0, "val/b": 2.0, "val/c": 3.0}, lambda *_: False)

    headers, rows = folded(table.header(), 40).splitlines(), folded(row, 40).splitlines()

    assert len(headers) == len(rows) > 1
    assert [len(line) for line in headers] == [len(line) for line in rows]
