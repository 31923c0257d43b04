"""Figures of a benchmark: as a table for people, as JSON for the record."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


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


def main(name: str, measure: Callable[[], list[Figure]]) -> None:
    """Measure, print the table, and with --keep write it to `benchmarks/results/`."""
    parser = argparse.ArgumentParser(description=f"Benchmark: {name}")
    parser.add_argument("--keep", action="store_true", help="keep the result in the repository")
    arguments = parser.parse_args()
    figures = measure()
    print(f"## {name}\n\n{machine()}\n\n{table(figures)}\n")
    if arguments.keep:
        RESULTS.mkdir(exist_ok=True)
        today = datetime.date.today().isoformat()
        record = {"date": today, "machine": machine(), "figures": [asdict(f) for f in figures]}
        (RESULTS / f"{today}-{name}.json").write_text(json.dumps(record, indent=1) + "\n")
