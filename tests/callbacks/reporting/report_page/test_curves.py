from __future__ import annotations

import json
import math

from trackside.callbacks.reporting.report_page.curves import (
    as_plain,
    panels,
    recorded_once,
    status_word,
)
from trackside.callbacks.reporting.report_page.thinning import ThinnedHistory
from trackside.history import History, Record
from trackside.outcome import Status


def history(**columns: list[float]) -> History:
    found = History()
    for row in range(max(map(len, columns.values()))):
        values = {n.replace("__", "/"): c[row] for n, c in columns.items() if row < len(c)}
        found.append(Record(values, row + 1, row // 2, 8 * (row + 1), 0.5 * row))
    return found


def test_a_measure_of_several_sets_and_runs_shares_a_panel() -> None:
    first = history(train__loss=[2.0, 1.0], val__loss=[3.0, 2.0], lr__0=[0.1, 0.1])
    second = history(val__loss=[4.0, 3.0])
    shown = panels([ThinnedHistory(first), ThinnedHistory(second)])
    assert [(p.title, p.is_metric) for p in shown] == [("loss", True), ("lr/0", False)]
    assert [(c.run, c.name) for c in shown[0].curves] == [
        (0, "train/loss"),
        (0, "val/loss"),
        (1, "val/loss"),
    ]


def test_a_value_of_one_record_is_told_and_not_drawn() -> None:
    one = history(val__loss=[3.0, 2.0], parameters__total=[9.0])
    assert [panel.title for panel in panels([ThinnedHistory(one)])] == ["loss"]
    assert recorded_once(ThinnedHistory(one)) == {"parameters/total": 9.0}


def test_a_value_that_was_never_a_number_has_no_curve() -> None:
    assert panels([ThinnedHistory(history(val__loss=[math.nan, math.inf]))]) == []


def test_curves_of_the_same_records_share_their_axes() -> None:
    both = history(train__loss=[2.0, 1.0], val__loss=[3.0, 2.0])
    plain = as_plain(panels([ThinnedHistory(both)]), [both])
    assert len(plain["axes"]) == 1
    assert plain["axes"][0]["samples"] == [8, 16]
    assert [curve["values"] for curve in plain["panels"][0]["curves"]] == [[2.0, 1.0], [3.0, 2.0]]


def test_a_gap_is_none_so_that_json_can_hold_it() -> None:
    one = history(val__loss=[1.0, math.nan, 2.0])
    plain = as_plain(panels([ThinnedHistory(one)]), [one])
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


def test_tokens_are_an_axis_where_records_have_them() -> None:
    counted = History()
    for step, tokens in ((1, None), (2, 640)):
        counted.append(Record({"val/loss": 1.0}, step, 0, step, 0.0, tokens))
    plain = as_plain(panels([ThinnedHistory(counted)]), [counted])
    assert plain["axes"][0]["tokens"] == [None, 640]
    assert [panel["title"] for panel in plain["panels"]] == ["loss"]
