"""The page of a sweep has each trial, whatever became of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trackside.search import report
from trackside.search.space import Dimension
from trackside.search.store import Trial
from trackside.search.sweep import Sweep

SPACE = (Dimension("lr", "log", (1e-4, 1e-1), logarithmic=True),)


def sweep(folder: Path) -> Sweep:
    return Sweep((), (), folder, 4, "val/loss", "min", SPACE)


def made(asked: Sweep, number: int, state: Any, value: float | None, why: str = "") -> Trial:
    """A trial with a run of one record."""
    place = asked.place(number)
    place.mkdir(parents=True)
    record = {"step": 1, "epoch": 1, "samples": 4, "seconds": 0.5}
    record["values"] = {"val/loss": value if value is not None else 9.0}  # type: ignore[assignment]
    (place / "history.jsonl").write_text(json.dumps(record) + "\n")
    return Trial(number, state, value, {"lr": 0.001 * (number + 1)}, why)


def test_the_best_come_first_then_all_others_with_the_first_line_of_why(tmp_path: Path) -> None:
    asked = sweep(tmp_path)
    found = [
        Trial(0, "failed", None, {"lr": 0.5}, "ValueError: <broken>\n  at a place"),
        made(asked, 1, "complete", 0.5),
        made(asked, 2, "complete", 0.25),
        Trial(3, "pruned", 0.75, {}, "pruned"),
    ]

    rows = report.table(asked, found).rows
    assert [row[0] for row in rows] == ["2", "1", "0", "3"]
    assert rows[2] == ("0", "failed", "–", "0.5", "ValueError: <broken>")
    assert rows[3] == ("3", "pruned", "0.75", "–", "pruned")

    page = report.write(asked, found)
    assert page == tmp_path / "report.html"
    text = page.read_text()
    assert "The best 2 of 4 trials" in text
    assert "ValueError: &lt;broken&gt;" in text
    assert text.index("trial 2: val/loss 0.25") < text.index("trial 1: val/loss 0.5")


def test_where_no_trial_is_complete_the_runs_of_others_are_shown(tmp_path: Path) -> None:
    asked = sweep(tmp_path)
    page = report.write(asked, [made(asked, 0, "failed", None, "diverged at step 1")])

    assert page is not None
    assert "diverged at step 1" in page.read_text()
    assert "trial 0: failed" in page.read_text()


@pytest.mark.parametrize("found", [[], [Trial(0, "failed", None, {}, "no data")]])
def test_without_a_run_there_is_no_page(tmp_path: Path, found: list[Trial]) -> None:
    assert report.write(sweep(tmp_path), found) is None
    assert list(tmp_path.iterdir()) == []


def test_of_two_hundred_trials_each_has_a_row_and_the_best_ten_have_curves(tmp_path: Path) -> None:
    asked = sweep(tmp_path)
    best = [made(asked, number, "complete", number / 10) for number in range(11)]
    found = [*best, *(Trial(n, "complete", n / 10, {"lr": 0.1}) for n in range(11, 200))]

    page = report.write(asked, found)

    assert page is not None
    text = page.read_text()
    assert "The best 10 of 200 trials" in text
    assert text.count('<td class="number">complete</td>') == 200
    assert "trial 9: val/loss" in text
    assert "trial 10: val/loss" not in text
