from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from trackside.callbacks.pictures.history_panels import (
    draw_history,
    history_size,
    panel_rows,
    panels,
)
from trackside.history import Record

SETS = ("train", "val")
RECORDS = [
    Record({"train/loss": 2.0, "lr/0": 0.1}, 10, 0, 100, 1.5),
    Record({"val/loss": 1.5, "val/accuracy": 0.4, "time/step_seconds": 1.0}, 20, 1, 200, 3.0),
    Record({"train/loss": 1.0, "lr/0": 0.05}, 20, 1, 200, 3.0),
]


def test_a_metric_of_several_data_sets_shares_a_panel() -> None:
    shown = panels(RECORDS, ["train/*", "val/*", "lr/*"], "step", SETS)

    assert [panel.title for panel in shown] == ["loss", "accuracy", "lr"]
    assert shown[2].curves == {"0": ([10, 20], [0.1, 0.05])}
    assert shown[0].curves == {"train": ([10, 20], [2.0, 1.0]), "val": ([20], [1.5])}


def test_recent_values_of_training_are_in_its_panel() -> None:
    records = [Record({"train_recent/loss": 3.0}, 1, 0, 1, 0.1), *RECORDS]
    [panel] = panels(records, ["train_recent/*", "*/loss"], "step", SETS)

    assert list(panel.curves) == ["train_recent", "train", "val"]


@pytest.mark.parametrize(("axis", "positions"), [("epoch", [0, 1]), ("seconds", [1.5, 3.0])])
def test_any_axis_can_run_to_the_right(axis: str, positions: list[float]) -> None:
    [panel] = panels(RECORDS, ["train/loss"], axis, SETS)  # type: ignore[arg-type]

    assert panel.curves["train"][0] == positions


def test_tokens_run_to_the_right_where_records_have_them() -> None:
    counted = Record({"train/loss": 0.5}, 30, 1, 300, 4.5, tokens=900)
    [panel] = panels([*RECORDS, counted], ["train/loss"], "tokens", SETS)

    assert panel.curves["train"] == ([900], [0.5])


def test_panels_come_in_the_order_that_was_asked_for() -> None:
    shown = panels(RECORDS, ["val/accuracy", "*/loss"], "step", SETS)

    assert [panel.title for panel in shown] == ["accuracy", "loss"]


def test_what_was_never_finite_has_no_panel() -> None:
    records = [Record({"train/loss": math.nan, "val/loss": math.inf}, 1, 0, 1, 0.1)]

    assert panels(records, ["*"], "step", SETS) == []


def test_only_what_is_named_is_logarithmic() -> None:
    shown = panels(RECORDS, ["*/loss", "val/accuracy"], "step", SETS, ["*/loss"])

    assert [panel.logarithmic for panel in shown] == [True, False]


@pytest.mark.parametrize(
    ("count", "expected"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (7, (3, 3))]
)
def test_panels_stand_in_up_to_three_columns(count: int, expected: tuple[int, int]) -> None:
    assert panel_rows(count) == expected


def test_curves_are_drawn_with_their_names_and_axes() -> None:
    shown = panels(RECORDS, ["*/loss", "val/accuracy"], "seconds", SETS, ["*/loss"])
    figure = Figure(figsize=history_size(2))
    draw_history(figure, shown, "seconds", "run after step 20")

    losses, accuracy = figure.axes
    assert [line.get_label() for line in losses.lines] == ["train", "val"]
    assert np.asarray(losses.lines[0].get_xydata()).tolist() == [[1.5, 2.0], [3.0, 1.0]]
    assert (losses.get_yscale(), accuracy.get_yscale()) == ("log", "linear")
    assert losses.get_xlabel() == "time (s)"
