from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.checkpoint.ledger import Entry
from trackside.checkpoint.retention import Retention, best_first, to_delete
from trackside.errors import ConfigurationError


def entry(sequence: int, *, step: int | None = None, loss: float = 0.0, **more: Any) -> Entry:
    step = sequence if step is None else step
    return Entry(f"step-{sequence}", step, sequence, "digest", {"val/loss": loss}, **more)


def deleted(entries: list[Entry], retention: Retention, **options: Any) -> list[int]:
    return [gone.sequence for gone in to_delete(entries, retention, **options)]


def test_without_a_rule_everything_stays() -> None:
    assert deleted([entry(i) for i in range(5)], Retention()) == []


def test_the_last_ones_stay_and_the_rest_goes_oldest_first() -> None:
    entries = [entry(i) for i in (3, 1, 2, 4)]
    assert deleted(entries, Retention(keep_last=2)) == [1, 2]


def test_last_means_saved_last_whatever_the_step() -> None:
    entries = [entry(1, step=100), entry(2, step=200), entry(3, step=120)]
    assert deleted(entries, Retention(keep_last=1)) == [1, 2]


def test_the_best_stay_and_the_newest_does_too() -> None:
    entries = [entry(i, loss=loss) for i, loss in enumerate([0.5, 0.1, 0.9, 0.2, 0.8])]
    lowest = Retention(keep_best=2, monitor="val/loss")
    highest = Retention(keep_best=1, monitor="val/loss", mode="max")
    assert deleted(entries, lowest) == [0, 2]
    assert deleted(entries, highest) == [0, 1, 3]


def test_of_equal_ones_the_older_is_better() -> None:
    entries = [entry(i, loss=0.5) for i in range(4)]
    assert [e.sequence for e in best_first(entries, "val/loss", "min")] == [0, 1, 2, 3]
    assert [e.sequence for e in best_first(entries, "val/loss", "max")] == [0, 1, 2, 3]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_never_best(value: float) -> None:
    entries = [entry(0, loss=value), entry(1, loss=5.0), entry(2, loss=value)]
    assert [e.sequence for e in best_first(entries, "val/loss", "min")] == [1]
    assert deleted(entries, Retention(keep_best=3, monitor="val/loss")) == [0]


def test_one_in_every_so_many_steps_stays_at_or_after_each_multiple() -> None:
    entries = [entry(i, step=step) for i, step in enumerate([90, 100, 110, 199, 205, 240, 250])]
    assert deleted(entries, Retention(keep_every_steps=100)) == [0, 2, 3, 5]


def test_pinned_and_protected_ones_stay() -> None:
    entries = [entry(0, pinned=True), entry(1), entry(2), entry(3)]
    assert deleted(entries, Retention(keep_last=1), protected={"step-2"}) == [1]


@pytest.mark.parametrize(
    "options",
    [
        {"keep_last": 0},
        {"keep_best": 0, "monitor": "val/loss"},
        {"keep_every_steps": -1},
        {"keep_best": 1},
        {"monitor": "val/loss"},
        {"keep_best": 1, "monitor": "val/loss", "mode": "lowest"},
    ],
    ids=str,
)
def test_rules_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Retention(**options)


counts = st.none() | st.integers(1, 4)
retentions = st.builds(
    lambda last, best, every, mode: Retention(
        keep_last=last,
        keep_best=best,
        monitor="val/loss" if best else None,
        mode=mode,
        keep_every_steps=every,
    ),
    counts,
    counts,
    st.none() | st.integers(1, 20),
    st.sampled_from(["min", "max"]),
)
losses = st.floats(0, 1) | st.sampled_from([math.nan, math.inf, 0.5])
histories = st.lists(
    st.builds(
        lambda gap, loss, pinned: (gap, loss, pinned), st.integers(0, 15), losses, st.booleans()
    ),
    max_size=25,
)


def run_of(history: list[tuple[int, float, bool]]) -> list[Entry]:
    entries, step = [], 0
    for sequence, (gap, loss, pinned) in enumerate(history):
        step += gap
        entries.append(entry(sequence, step=step, loss=loss, pinned=pinned))
    return entries


@given(histories, retentions)
def test_the_newest_and_the_pinned_always_stay(
    history: list[tuple[int, float, bool]], retention: Retention
) -> None:
    entries = run_of(history)
    gone = to_delete(entries, retention)
    assert entries[-1:] == [] or entries[-1] not in gone
    assert not any(each.pinned for each in gone)


@given(histories, retentions)
def test_what_a_rule_promises_is_there_after_each_save(
    history: list[tuple[int, float, bool]], retention: Retention
) -> None:
    entries = run_of(history)
    kept: list[Entry] = []
    for count, each in enumerate(entries, start=1):
        gone = to_delete([*kept, each], retention)
        kept = [one for one in [*kept, each] if one not in gone]
        seen = entries[:count]
        names = {one.name for one in kept}
        assert {one.name for one in seen[-(retention.keep_last or 1) :]} <= names
        if retention.keep_best:
            best = best_first(seen, "val/loss", retention.mode)[: retention.keep_best]
            assert {one.name for one in best} <= names
        # Deleting after each save is the same as deleting once at the end.
        assert kept == [one for one in seen if one not in to_delete(seen, retention)]
        assert to_delete(kept, retention) == []
