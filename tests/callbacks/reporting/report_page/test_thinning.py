from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from trackside.callbacks.reporting.report_page.thinning import ThinnedHistory, Thinning, thinned
from trackside.history import History, Record

numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)


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


@given(st.lists(st.integers(0, 60), max_size=8), st.integers(min_value=8, max_value=60))
def test_points_that_come_in_parts_keep_extremes_and_the_end(parts: list[int], limit: int) -> None:
    thinning = Thinning(limit)
    points: list[tuple[int, float]] = []
    for part in parts:
        more = [(len(points) + i, math.sin(7.0 * (len(points) + i))) for i in range(part)]
        points += more
        thinning.extend(more)
    kept = thinning.points()
    assert thinning.count == len(points)
    assert len(kept) <= limit + 1
    assert [row for row, _ in kept] == sorted({row for row, _ in kept})
    for extreme in (min, max):
        value = extreme((value for _, value in points), default=None)
        assert value == extreme((value for _, value in kept), default=None)
    assert kept[-1:] == points[-1:]


def test_a_later_look_adds_only_the_records_since() -> None:
    history = History()
    looked = ThinnedHistory(history)
    for step in range(1, 4):
        history.append(Record({"val/loss": float(step)}, step, 0, step, 0.0))
        assert looked.curves()["val/loss"].count == step
    assert looked.curves()["val/loss"].points() == [(0, 1.0), (1, 2.0), (2, 3.0)]
