"""What torch.compile makes of a model, in words."""

from __future__ import annotations

from collections import Counter

from trackside.callbacks.performance.graph_report import difference, of_counters


def test_only_what_was_gained_counts() -> None:
    before = {"graph_break": Counter(a=2), "frames": Counter(total=1)}
    after = {"graph_break": Counter(a=2, b=1), "frames": Counter(total=4), "stats": Counter()}

    assert difference(after, before) == {"graph_break": {"b": 1}, "frames": {"total": 3}}


def test_breaks_come_first_the_most_frequent_one_on_top() -> None:
    text = of_counters({"frames": {"total": 3}, "graph_break": {"rare": 1, "often": 5}})

    assert text.splitlines()[0] == "graph breaks: 6"
    assert text.index("often") < text.index("rare") < text.index("total: 3")


def test_nothing_broken_is_said_as_well() -> None:
    assert of_counters({}) == "graph breaks: 0\n"
