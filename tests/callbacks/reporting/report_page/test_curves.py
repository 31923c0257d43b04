from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from trackside.callbacks.reporting.report_page.curves import (
    as_plain,
    panels,
    recorded_once,
    status_word,
    thinned,
)
from trackside.history import History, Record
from trackside.outcome import Status

numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)


def history(**columns: list[float]) -> History:
    found = History()
    for row in range(max(map(len, columns.values()))):
        values = {n.replace("__", "/"): c[row] for n, c in columns.items() if row < len(c)}
        found.append(Record(values, row + 1, row // 2, 8 * (row + 1), 0.5 * row))
    return found


def test_a_measure_of_several_sets_and_runs_shares_a_panel() -> None:
    first = history(train__loss=[2.0, 1.0], val__loss=[3.0, 2.0], lr__0=[0.1, 0.1])
    second = history(val__loss=[4.0, 3.0])
    shown = panels([first, second])
    assert [(p.title, p.is_metric) for p in shown] == [("loss", True), ("lr/0", False)]
    assert [(c.run, c.name) for c in shown[0].curves] == [
        (0, "train/loss"),
        (0, "val/loss"),
        (1, "val/loss"),
    ]


def test_a_value_of_one_record_is_told_and_not_drawn() -> None:
    one = history(val__loss=[3.0, 2.0], parameters__total=[9.0])
    assert [panel.title for panel in panels([one])] == ["loss"]
    assert recorded_once(one) == {"parameters/total": 9.0}


def test_a_value_that_was_never_a_number_has_no_curve() -> None:
    assert panels([history(val__loss=[math.nan, math.inf])]) == []


@given(st.lists(numbers, min_size=1, max_size=400), st.integers(min_value=8, max_value=100))
def test_thinning_keeps_order_ends_extremes_and_gaps(values: list[float], limit: int) -> None:
    points = list(enumerate(values))
    kept = thinned(points, limit)
    assert len(kept) <= max(limit, 4 * (limit // 4) + 2)
    assert kept == sorted(set(kept), key=lambda point: point[0]) or any(
        math.isnan(value) for value in values
    )
    assert [row for row, _ in kept] == sorted({row for row, _ in kept})
    assert all(points[row] is not None and row < len(points) for row, _ in kept)
    assert kept[0][0] == 0
    assert kept[-1][0] == len(points) - 1
    finite = [value for value in values if math.isfinite(value)]
    if finite:
        shown = [value for _, value in kept if math.isfinite(value)]
        assert (min(shown), max(shown)) == (min(finite), max(finite))
    assert any(not math.isfinite(v) for v in values) == any(not math.isfinite(v) for _, v in kept)


def test_curves_of_the_same_records_share_their_axes() -> None:
    plain = as_plain(
        panels([both := history(train__loss=[2.0, 1.0], val__loss=[3.0, 2.0])]), [both]
    )
    assert len(plain["axes"]) == 1
    assert plain["axes"][0]["samples"] == [8, 16]
    assert [curve["values"] for curve in plain["panels"][0]["curves"]] == [[2.0, 1.0], [3.0, 2.0]]


def test_a_gap_is_none_so_that_json_can_hold_it() -> None:
    plain = as_plain(panels([one := history(val__loss=[1.0, math.nan, 2.0])]), [one])
    assert json.loads(json.dumps(plain, allow_nan=False))["panels"][0]["curves"][0]["values"] == [
        1.0,
        None,
        2.0,
    ]


def test_every_status_has_its_mark() -> None:
    marks = {status.value: status_word(status.value) for status in Status}
    assert marks == {
        "completed": "good",
        "stopped": "good",
        "interrupted": "open",
        "diverged": "bad",
        "failed": "bad",
    }
