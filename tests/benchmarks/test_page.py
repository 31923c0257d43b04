"""The tables of the page of comparisons are what the kept results say."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.page import PAGE, ROWS, TABLE, TABLES, all_at_once, filled, newest, parts, peers
from benchmarks.report import Figure


def keep(folder: Path, date: str, benchmark: str, *figures: Figure) -> None:
    record = {"figures": [asdict(figure) for figure in figures]}
    (folder / f"{date}-{benchmark}.json").write_text(json.dumps(record))


def test_the_page_has_the_tables_that_the_kept_results_make() -> None:
    page = PAGE.read_text()

    assert [match[2] for match in TABLE.finditer(page)] == list(TABLES)
    assert page == filled(page)


def test_every_row_names_a_figure_that_its_benchmark_has() -> None:
    kept = {row.benchmark: newest(row.benchmark) for row in ROWS}

    assert [
        row.figure
        for row in ROWS
        if kept[row.benchmark] and (row.figure, row.unit) not in kept[row.benchmark]
    ] == []


def test_the_newest_result_counts(tmp_path: Path) -> None:
    keep(tmp_path, "2026-11-22", "step", Figure("a", 1.0, "ratio"))
    keep(tmp_path, "2026-11-27", "step", Figure("a", 2.0, "ratio"))
    keep(tmp_path, "2026-11-28", "fast_step", Figure("a", 3.0, "ratio"))

    assert newest("step", tmp_path)["a", "ratio"].value == 2.0


def test_a_row_has_its_value_its_spread_and_its_aim(tmp_path: Path) -> None:
    row = ROWS[0]
    keep(tmp_path, "2026-11-27", row.benchmark, Figure(row.figure, 1.5, "ratio", 1.2, (1.0, 2.0)))

    assert all_at_once(tmp_path).splitlines()[2:] == [
        f"| {row.label} | 1.500 | 1.00 to 2.00 | 1.2 |"
    ]


def test_a_trainer_has_a_column_for_each_workload(tmp_path: Path) -> None:
    figure = Figure("small GPT, ignite, over a raw loop", 1.1, "ratio", None, (1.0, 1.2))
    keep(tmp_path, "2026-11-27", "peers", figure)

    assert "| ignite |  | 1.10 (1.00 to 1.20) |  |" in peers(tmp_path).splitlines()


def test_parts_have_a_column_for_each_way_and_a_sum_without_what_is_done_beside(
    tmp_path: Path,
) -> None:
    figures = {"by hand: steps": 2.0, "by hand: beside the loop: writing": 0.0, "ours: steps": 3.0}
    figures |= {"ours: beside the loop: writing": 4.0, "by hand: x": 0.0, "ours: x": 0.0}
    kept = [Figure(f"a save, {name}", value, "ms") for name, value in figures.items()]
    keep(tmp_path, "2026-11-27", "profile", *kept, Figure("another, by hand: steps", 1.0, "ms"))

    assert parts("a save", tmp_path).splitlines() == [
        "| a save, ms | by hand | ours |",
        "|---|---|---|",
        "| steps | 2.000 | 3.000 |",
        "| beside the loop: writing |  | 4.000 |",
        "| in all | 2.000 | 3.000 |",
    ]
