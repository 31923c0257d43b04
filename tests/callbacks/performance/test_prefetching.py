"""Which block gathers which others."""

from __future__ import annotations

from trackside.callbacks.performance.prefetching import backward_prefetches, forward_prefetches


def test_forward_looks_ahead_in_order() -> None:
    assert forward_prefetches("abc", 2) == [("a", ["b", "c"]), ("b", ["c"]), ("c", [])]


def test_backward_looks_ahead_from_the_end() -> None:
    assert backward_prefetches("abc", 1) == [("c", ["b"]), ("b", ["a"]), ("a", [])]
