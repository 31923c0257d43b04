"""Ratios come from turns that lie side by side, in as many rounds as were asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import report, two_ranks

SOURCES = sorted(Path(report.__file__).parent.glob("*.py"))


def test_the_plain_thing_is_done_right_before_and_right_after_each_variant() -> None:
    done: list[str] = []

    def one(name: str) -> float:
        done.append(name)
        return 1.0

    variants = {name: lambda name=name: one(name) for name in ("a", "b")}
    report.ratios(variants, lambda: one("-"), rounds=2, warm_up=False)
    assert "".join(done) == "-a-b-a-b-"


def test_a_ratio_is_that_to_the_mean_of_both_sides() -> None:
    seconds = iter([1.0, 6.0, 3.0])
    figures = report.ratios(
        {"a": lambda: next(seconds)}, lambda: next(seconds), rounds=1, warm_up=False
    )
    assert [figure.value for figure in figures] == [3.0]


def test_a_trial_has_fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MOST_ROUNDS", 2)
    assert (report.at_most(9), report.at_most(1)) == (2, 1)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_no_benchmark_passes_over_the_rounds_of_a_trial(source: Path) -> None:
    assert not re.search(r"range\(ROUNDS\)", source.read_text()), "range(at_most(ROUNDS))"


def test_ranks_hear_of_the_rounds_of_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    def launch(command: Sequence[str], count: int) -> int:
        heard.extend(command)
        return 1

    monkeypatch.setattr(two_ranks, "launch", launch)
    monkeypatch.setattr(report, "MOST_ROUNDS", 2)
    with pytest.raises(SystemExit):
        two_ranks.measure()
    assert heard[-1] == "2"
