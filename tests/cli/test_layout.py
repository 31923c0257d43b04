from __future__ import annotations

from trackside.cli import layout


def test_a_line_that_is_too_long_goes_on_deeper_and_between_words() -> None:
    text = "  hook: alpha, beta, gamma, delta\n\nshort"

    assert layout.folded(text, 20, hang=2) == "  hook: alpha, beta,\n    gamma, delta\n\nshort"


def test_where_nobody_looks_lines_stay_whole() -> None:
    assert layout.width() is None  # under pytest, standard output is no terminal
    assert layout.folded("a b c", None, hang=2) == "a b c"
