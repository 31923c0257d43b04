"""The page has the cost of a callback of each dialect, as it was measured last."""

from __future__ import annotations

import json

from benchmarks.dialects import MARKS, OURS, PAGE, VARIANTS, section
from benchmarks.report import RESULTS
from tests.dialects.pages import PAGES


def test_the_table_is_that_of_the_last_kept_result() -> None:
    record = json.loads(max(RESULTS.glob("*-dialects.json")).read_text())
    start, end = MARKS
    between = PAGE.read_text().split(start)[1].split(end)[0]
    assert between.strip() == section(record).strip(), "run python -m benchmarks.dialects --keep"


def test_each_dialect_has_a_row() -> None:
    bases = [cls.__module__ for make in VARIANTS.values() for cls in make.__mro__]  # type: ignore[attr-defined]
    covered = {name for name in PAGES if any(f"dialects.{name}" in one for one in bases)}
    assert covered == set(PAGES)
    assert OURS not in VARIANTS
