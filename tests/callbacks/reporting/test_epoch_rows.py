from __future__ import annotations

import math

from trackside.callbacks.reporting.epoch_rows import Columns, is_best


def test_columns_stay_straight_from_header_to_row() -> None:
    columns = Columns()
    columns.widen(["val/loss"])

    row = columns.row("3", 1200, 12.34, {"val/loss": 0.5}, lambda name, value: True)

    assert columns.header() == " epoch       step   val/loss    seconds"
    assert row == "     3      1,200     0.5000*      12.3"


def test_a_value_that_is_missing_leaves_a_gap() -> None:
    columns = Columns()
    columns.widen(["val/loss"])

    row = columns.row("1", 1, 0.0, {}, lambda name, value: True)

    assert row.split() == ["1", "1", "0.0"]


def test_only_new_names_make_a_new_header() -> None:
    columns = Columns()

    assert [columns.widen(["a"]), columns.widen(["a"]), columns.widen(["b", "a"])] == [
        True,
        False,
        True,
    ]
    assert columns.names == ["a", "b"]


def test_a_value_is_best_when_none_before_beats_it() -> None:
    assert is_best("val/loss", 0.1, [0.3, 0.2, 0.1], {})
    assert not is_best("val/loss", 0.25, [0.3, 0.2, 0.25], {})
    assert is_best("val/margin", 9.0, [8.0, 9.0], {"val/margin": "max"})


def test_a_metric_of_unknown_direction_has_no_best() -> None:
    assert not is_best("val/margin", 9.0, [8.0], {})


def test_nan_is_never_best() -> None:
    assert not is_best("val/loss", math.nan, [], {})


def test_the_loss_of_training_has_no_best() -> None:
    assert not is_best("train/loss", 0.1, [0.2], {})
