"""Records, their history, and whether a value has improved."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside import Run, Trainer
from trackside.errors import ConfigurationError
from trackside.history import (
    History,
    Mode,
    PrefixedHistory,
    Record,
    best_key,
    check_mode,
    has_improved,
)
from trackside.records import Columns
from trackside.testing import tiny_regression

finite = st.floats(-1e6, 1e6)


def history_of(*values: dict[str, float]) -> History:
    history = History()
    for step, value in enumerate(values, 1):
        history.append(
            Record(value, step=step, epoch=step // 2, samples=8 * step, seconds=step / 2)
        )
    return history


# --- has it improved? --------------------------------------------------------------------------


@given(value=finite, best=finite, min_delta=st.floats(0, 10))
def test_better_by_more_than_min_delta_is_an_improvement_and_the_two_directions_mirror(
    value: float, best: float, min_delta: float
) -> None:
    assert has_improved(value, best, "min", min_delta) is (value < best - min_delta)
    assert has_improved(value, best, "min", min_delta) is has_improved(
        -value, -best, "max", min_delta
    )


@given(best=st.none() | finite | st.just(math.nan))
def test_nan_never_improves(best: float | None) -> None:
    assert not has_improved(math.nan, best, "min")
    assert not has_improved(math.nan, best, "max")


@given(value=finite)
def test_anything_else_beats_none_and_nan(value: float) -> None:
    for best in (None, math.nan):
        assert has_improved(value, best, "min", min_delta=1.0)


@given(value=finite)
def test_equal_is_no_improvement(value: float) -> None:
    assert not has_improved(value, value, "min")
    assert not has_improved(value, value, "max")


def test_a_direction_that_does_not_exist_is_refused() -> None:
    assert check_mode("max") == "max"
    with pytest.raises(ConfigurationError, match="mode='up' is not a direction"):
        check_mode("up")


# --- history -----------------------------------------------------------------------------------


@given(
    values=st.lists(finite | st.just(math.nan), max_size=8), mode=st.sampled_from(["min", "max"])
)
def test_the_best_is_the_first_extreme_among_those_that_are_numbers(
    values: list[float], mode: Any
) -> None:
    best = history_of(*({"x": value} for value in values)).best("x", mode)
    numbers = [value for value in values if not math.isnan(value)]

    if not numbers:
        assert best is None
    else:
        extreme = min(numbers) if mode == "min" else max(numbers)
        assert best is not None
        assert best.value == extreme
        assert best.record.step == values.index(extreme) + 1


def test_names_values_points_latest_and_rows() -> None:
    history = history_of({"train/loss": 1.0}, {"val/loss": 0.5}, {"train/loss": 0.8})

    assert history.names == ("train/loss", "val/loss")
    assert history.values("train/loss") == [1.0, 0.8]
    assert history.points("train/loss", "samples") == [(8, 1.0), (24, 0.8)]
    assert history.latest("train/loss") == 0.8
    assert history.latest("none") is None
    assert history.latest("none", 3.0) == 3.0
    assert history.best("none") is None
    assert history.rows()[1] == {
        "step": 2,
        "epoch": 1,
        "samples": 16,
        "seconds": 1.0,
        "val/loss": 0.5,
    }
    assert len(history) == 3
    assert history[-1] == list(history)[2]


def test_axes_never_go_back() -> None:
    history = history_of({"x": 1.0}, {"x": 2.0})

    with pytest.raises(ValueError, match="record of step 1 after one of step 2"):
        history.append(Record({"x": 3.0}, 1, 0, 0, 0.0))
    history.append(Record({"x": 3.0}, 2, 1, 16, 1.0))


@given(values=st.lists(st.dictionaries(st.sampled_from("abc"), finite), max_size=6))
def test_a_history_survives_a_round_trip_through_json(values: list[dict[str, float]]) -> None:
    history, restored = history_of(*values), history_of({"old": 1.0})
    restored.load_state_dict(json.loads(json.dumps(history.state_dict())))

    assert list(restored) == list(history)
    assert restored.names == history.names
    assert all(restored.latest(name) == history.latest(name) for name in history.names)


# --- columns -----------------------------------------------------------------------------------

SOME_NAMES = st.sampled_from(["train/loss", "val/loss", "lr/0", "a"])


@given(rows=st.lists(st.dictionaries(SOME_NAMES, finite | st.just(math.nan), max_size=4)))
def test_columns_answer_as_a_list_of_records_would(rows: list[dict[str, float]]) -> None:
    history, plain = History(), []
    for step, values in enumerate(rows):
        plain.append(Record(values, step, step // 2, 8 * step, step / 2))
        history.append(plain[-1])
        history.best("a", "max")  # asked for early: kept up to date from here on
    assert repr(list(history)) == repr(plain)
    assert repr(history[1:]) == repr(plain[1:])
    for name in ("train/loss", "val/loss", "lr/0", "a"):
        having = [record for record in plain if name in record.values]
        assert repr(history.values(name)) == repr([r.values[name] for r in having])
        assert repr(history.points(name, "samples")) == repr(
            [(r.samples, r.values[name]) for r in having]
        )
        finite_ones = [r for r in having if not math.isnan(r.values[name])]
        best = max(finite_ones, key=lambda r: r.values[name], default=None)
        found = history.best(name, "max")
        assert repr(found and found.record) == repr(best)


def test_the_best_is_asked_for_again_without_a_look_at_all_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    history = history_of(*({"val/loss": 1 / step} for step in range(1, 100)))
    history.best("val/loss")
    looked: list[int] = []
    record = Columns.record

    def noted(self: Columns, row: int) -> Record:
        looked.append(row)
        return record(self, row)

    monkeypatch.setattr(Columns, "record", noted)
    monkeypatch.setattr(Columns, "points", lambda *_: pytest.fail("looked through all values"))
    history.append(Record({"val/loss": 0.001}, 1000, 1, 1, 1.0))
    best = history.best("val/loss")
    assert best is not None
    assert best.value == 0.001
    assert looked == [99]


def test_memory_is_that_of_the_numbers_with_many_names_in_few_records() -> None:
    history = History()
    for step in range(100):
        names = [f"layer/{(step * 7 + place) % 2000}" for place in range(20)]
        history.append(Record(dict.fromkeys(names, 0.5), step, 0, 0, 0.0))
    tables = history.snapshot().columns.tables
    assert sum(len(table.values) for table in tables) == 100 * 20


def test_an_axis_that_records_do_not_have_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no axis 'batches'"):
        history_of({"a": 1.0}).points("a", "batches")


def test_a_value_that_is_no_number_leaves_the_history_as_it_was() -> None:
    history = history_of({"a": 1.0})
    with pytest.raises(TypeError):
        history.append(Record({"a": 2.0, "b": "three"}, 2, 0, 0, 0.0))  # type: ignore[dict-item]
    assert history.values("a") == [1.0]
    assert len(history) == 1


@pytest.mark.parametrize(("mode", "expected"), [("min", [1.0, 2.0, 3.0]), ("max", [3.0, 2.0, 1.0])])
def test_the_best_value_is_sorted_first(mode: Mode, expected: list[float]) -> None:
    assert sorted([2.0, 1.0, 3.0], key=lambda value: best_key(value, mode)) == expected


def test_a_history_keeps_values_under_its_prefix() -> None:
    history = PrefixedHistory("teacher/")
    history.append(Record({"val/loss": 0.5}, step=1, epoch=1, samples=4, seconds=0.1))

    assert history.names == ("teacher/val/loss",)


@pytest.mark.parametrize("name", ["val/loss", "teacher/val/loss"])
def test_a_prefixed_value_is_found_by_both_its_names(name: str) -> None:
    history = PrefixedHistory("teacher/")
    history.append(Record({"val/loss": 0.5}, step=1, epoch=1, samples=4, seconds=0.1))

    found = history.best(name)
    assert found is not None
    assert (history.latest(name), history.values(name), found.value) == (0.5, [0.5], 0.5)
    assert history.points(name) == [(1, 0.5)]


def test_a_run_of_ones_own_takes_another_history() -> None:
    class Fold(Run):
        def make_history(self) -> History:
            return PrefixedHistory("fold/")

    class FoldTrainer(Trainer):
        run_class = Fold

    task = tiny_regression()
    trainer = FoldTrainer(task.model, loss=task.loss, optimizer=task.optimizer, defaults=False)
    history = trainer.fit(task.train, task.validation, epochs=1).history

    assert set(history.names) == {"fold/train/loss", "fold/val/loss"}
