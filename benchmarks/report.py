"""Figures of a benchmark: as a table for people, as JSON for the record."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")

RESULTS = Path(__file__).parent / "results"
MOST_ROUNDS: int | None = None
"""At most so many rounds, to try a benchmark; None: as many as it has."""


@dataclass(frozen=True)
class Figure:
    """One measured figure."""

    name: str
    value: float
    unit: str
    budget: float | None = None
    spread: tuple[float, float] | None = None
    """Smallest and largest of the repeats."""

    @property
    def verdict(self) -> str:
        """Whether it keeps its budget."""
        if self.budget is None:
            return ""
        return "ok" if self.value <= self.budget else "OVER"


def median(
    name: str, values: list[float], unit: str = "ratio", budget: float | None = None
) -> Figure:
    """The figure of several repeats: their median, with the smallest and the largest."""
    return Figure(name, statistics.median(values), unit, budget, (min(values), max(values)))


def machine() -> str:
    """The machine in a few words."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _lines("/proc/cpuinfo")
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} cores, torch {torch.__version__}, Python " + (
        platform.python_version()
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def table(figures: list[Figure]) -> str:
    """The figures as a Markdown table."""
    rows = ["| figure | value | budget | spread |", "|---|---|---|---|"]
    for figure in figures:
        budget = "" if figure.budget is None else f"{figure.budget:g} {figure.verdict}"
        spread = (
            "" if figure.spread is None else f"{figure.spread[0]:.3g} to {figure.spread[1]:.3g}"
        )
        rows.append(f"| {figure.name} | {figure.value:.4g} {figure.unit} | {budget} | {spread} |")
    return "\n".join(rows)


def quiet(act: Callable[..., T]) -> Callable[..., T]:
    """`act` without what it prints."""

    def silent(*args: Any) -> T:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return act(*args)

    return silent


def at_most(rounds: int) -> int:
    """The rounds of a benchmark, or fewer where `--rounds` says so."""
    return rounds if MOST_ROUNDS is None else min(rounds, MOST_ROUNDS)


def ratios(
    variants: Mapping[str, Callable[[], float]],
    plain: Callable[[], float],
    *,
    rounds: int,
    budgets: Mapping[str, float] | None = None,
    warm_up: bool = True,
) -> list[Figure]:
    """Times of each variant over the time of the plain thing, measured in turns.

    The plain thing is done between any two variants, also of two rounds, and the mean of the one
    before and the one after a variant counts, so that a machine that slows down or speeds up hits
    both alike.

    Args:
        variants: By the name of their figure: each returns the seconds that it took.
        plain: Returns the seconds that the plain thing took.
        rounds: How often; the figures are medians over the rounds.
        budgets: Of some of the figures, by name.
        warm_up: Whether each is done once before the rounds. False where a turn leaves nothing for
            the next: in processes of their own.
    """
    found: dict[str, list[float]] = {name: [] for name in variants}
    if warm_up:
        plain()
        for variant in variants.values():
            variant()
    before = plain()
    for _ in range(at_most(rounds)):
        for name, variant in variants.items():
            own = variant()
            after = plain()
            found[name].append(2 * own / (before + after))
            before = after
    return [
        median(name, values, budget=(budgets or {}).get(name)) for name, values in found.items()
    ]


def main(
    name: str,
    measure: Callable[[], list[Figure]],
    *,
    versions: str = "",
    write: Callable[[Mapping[str, Any]], None] | None = None,
) -> None:
    """Measure, print the table, and with --keep write it to `benchmarks/results/`.

    Args:
        name: Of the benchmark.
        measure: Returns its figures.
        versions: Of other packages that were measured.
        write: Writes a kept result into a page, too.
    """
    parser = argparse.ArgumentParser(description=f"Benchmark: {name}")
    parser.add_argument("--keep", action="store_true", help="keep the result in the repository")
    parser.add_argument("--rounds", type=int, metavar="N", help="at most N rounds, to try it")
    arguments = parser.parse_args()
    if arguments.keep and arguments.rounds is not None:
        parser.error("a result is kept of all rounds: leave out --rounds, or --keep")
    global MOST_ROUNDS
    MOST_ROUNDS = arguments.rounds
    figures = measure()
    load = f"load {os.getloadavg()[0]:.1f} at the end"
    where = ", ".join(filter(None, (machine(), versions, load)))
    print(f"## {name}\n\n{where}\n\n{table(figures)}\n")
    if arguments.keep:
        RESULTS.mkdir(exist_ok=True)
        today = datetime.date.today().isoformat()
        record = {
            "date": today,
            "machine": machine(),
            "versions": versions,
            "load": load,
            "figures": [asdict(figure) for figure in figures],
        }
        (RESULTS / f"{today}-{name}.json").write_text(json.dumps(record, indent=1) + "\n")
        if write is not None:
            write(record)
