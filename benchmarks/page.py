"""The tables of `docs/comparison.md`, filled with the newest results that are kept.

make bench ARGS=--keep                 # on a quiet machine
.venv/bin/python -m benchmarks.page
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers.loops import PEERS
from benchmarks.profile import BESIDE, EPOCH, ON_RANKS, SAVE, WORKER
from benchmarks.report import RESULTS, Figure
from benchmarks.workloads import MLP, WORKLOADS

PAGE = Path(__file__).parents[1] / "docs" / "comparison.md"
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.S)

EPOCHS = "20 epochs of 50 + 50 steps, early stopping, best weights, over the same by hand"
MORE = "one more callback at the batch's end"
WORKERS = "2 epochs and evaluations, {} workers {}, over a raw loop"


class Row(NamedTuple):
    """A line of the table of all: what the page calls it, the benchmark, the figure."""

    label: str
    benchmark: str
    figure: str
    unit: str = "ratio"


ROWS = (
    Row("a step, bare, over the raw loop's", "step", "step, bare trainer, over a raw loop"),
    Row(
        "a step with the default callbacks",
        "step",
        "step, with default callbacks, over a raw loop",
    ),
    Row(
        "bytecodes of a bare step beyond the raw loop's",
        "step",
        "step, bare trainer: beyond the raw loop's",
        "bytecodes",
    ),
    Row(
        "the same with ten idle callbacks",
        "step",
        "step, with 10 idle callbacks: beyond the raw loop's",
        "bytecodes",
    ),
    Row("one more callback that hears the batch's end", "step", f"{MORE}: bytecodes", "bytecodes"),
    Row("the same in time", "step", MORE, "us"),
    Row(
        "a step of a small GPT with the default callbacks, over the raw loop's",
        "fast_steps",
        "small GPT, eager, over a raw loop",
    ),
    Row("a step of a ResNet-9", "fast_steps", "ResNet-9, eager, over a raw loop"),
    Row(
        "a compiled step of the MLP, over the raw eager loop's",
        "fast_steps",
        "MLP, compiled, over a raw loop",
    ),
    Row("a compiled step of the small GPT", "fast_steps", "small GPT, compiled, over a raw loop"),
    Row(
        "`import trackside` over `import torch`",
        "startup",
        "import trackside (torch included), over import torch",
    ),
    Row(
        "`from trackside import Trainer` over `import torch`",
        "startup",
        "from trackside import Trainer, over import torch",
    ),
    Row("`trackside --help`", "startup", "trackside --help", "s"),
    Row(
        "the loop kept by a save in the background, over one copy in memory",
        "checkpoint",
        "loop blocked by an asynchronous save, over one copy",
    ),
    Row(
        "the same with a history of 10^6 records, over one of 10",
        "history",
        "a save keeps the loop: 10^6 records of 20 names",
    ),
    Row(
        "a step on two ranks, over a DDP loop by hand",
        "two_ranks",
        "step on 2 ranks, MLP 64-128-10, over a hand-written DDP loop",
    ),
    Row(
        "the same, a step of 13 ms",
        "two_ranks",
        "step on 2 ranks, MLP 64-1024-1024-10, over a hand-written DDP loop",
    ),
    Row(
        "an epoch over a `TensorDataset`, over the raw loop with a `DataLoader`",
        "data",
        "epoch over a TensorDataset, over a raw loop with a DataLoader: the same DataLoader",
    ),
    Row("20 epochs of 50 + 50 steps, early stopping, best weights", "epochs", EPOCHS),
    Row("the same with the default callbacks", "epochs", f"{EPOCHS}: with the default callbacks"),
    Row("two epochs and evaluations with 1 worker, kept", "workers", WORKERS.format(1, "kept")),
    Row("the same, started for each pass", "workers", WORKERS.format(1, "started for each pass")),
    Row("the same with 2 workers, kept", "workers", WORKERS.format(2, "kept")),
    Row("the same, started for each pass", "workers", WORKERS.format(2, "started for each pass")),
)


def newest(benchmark: str, results: Path = RESULTS) -> dict[tuple[str, str], Figure]:
    """The figures of the newest result of a benchmark, by name and unit; empty without one."""
    dated = re.compile(rf"\d{{4}}-\d\d-\d\d-{benchmark}\.json")
    kept = sorted(path for path in results.glob("*.json") if dated.fullmatch(path.name))
    figures = json.loads(kept[-1].read_text())["figures"] if kept else []
    return {(one["name"], one["unit"]): Figure(**one) for one in figures}


def spread(figure: Figure) -> str:
    """Its smallest and largest."""
    return "" if figure.spread is None else f"{figure.spread[0]:.2f} to {figure.spread[1]:.2f}"


def all_at_once(results: Path = RESULTS) -> str:
    """What has been measured of `ROWS`."""
    lines = ["| what | measured | smallest to largest | aim |", "|---|---|---|---|"]
    for row in ROWS:
        figure = newest(row.benchmark, results).get((row.figure, row.unit))
        if figure is not None:
            unit = "" if row.unit == "ratio" else f" {row.unit}"
            value = f"{figure.value:.3f}" if row.unit == "ratio" else f"{figure.value:.3g}"
            aim = "" if figure.budget is None else f"{figure.budget:g}"
            lines.append(f"| {row.label} | {value}{unit} | {spread(figure)} | {aim} |")
    return "\n".join(lines)


def peers(results: Path = RESULTS) -> str:
    """Every trainer on every workload; empty where it has not been measured."""
    found = newest("peers", results)
    lines = [
        "| time of a step over the raw loop's | " + " | ".join(w.name for w in WORKLOADS) + " |",
        "|---" * (1 + len(WORKLOADS)) + "|",
    ]
    for peer in PEERS:
        cells = []
        for load in WORKLOADS:
            figure = found.get((f"{load.name}, {peer}, over a raw loop", "ratio"))
            if figure is None and load is MLP:  # as results of before 2026-11-27 call it
                figure = found.get((f"step, {peer}, over a raw loop", "ratio"))
            cells.append("" if figure is None else f"{figure.value:.2f} ({spread(figure)})")
        lines.append(f"| {peer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parts(what: str, results: Path = RESULTS) -> str:
    """Milliseconds of the parts of `what`, a column for each way of doing it."""
    found = newest("profile", results)
    if not found:
        return "Not measured on a quiet machine yet."
    cells: dict[str, dict[str, float]] = {}
    ways: dict[str, float] = {}
    for (name, _), figure in found.items():
        done, _, rest = name.partition(", ")
        way, _, part = rest.partition(": ")
        if done == what:
            cells.setdefault(part, {})[way] = figure.value
            ways[way] = ways.get(way, 0.0) + (not part.startswith(BESIDE)) * figure.value
    shown = {part: row for part, row in cells.items() if any(row.values())}
    lines = [f"| {what}, ms | " + " | ".join(ways) + " |", "|---" * (1 + len(ways)) + "|"]
    for part, row in {**shown, "in all": ways}.items():
        values = [f"{row[way]:.3f}" if row[way] else "" for way in ways]
        lines.append(f"| {part} | " + " | ".join(values) + " |")
    return "\n".join(lines)


TABLES: dict[str, Callable[[Path], str]] = {
    "all": all_at_once,
    "epoch": partial(parts, EPOCH),
    "save": partial(parts, SAVE),
    "worker": partial(parts, WORKER),
    "ranks": partial(parts, ON_RANKS),
    "peers": peers,
}
"""By the name that stands above them on the page."""


def filled(page: str, results: Path = RESULTS) -> str:
    """The page with its tables as the results have them."""

    def table(match: re.Match[str]) -> str:
        return f"{match[1]}\n{TABLES[match[2]](results)}\n\n{match[3]}"

    return TABLE.sub(table, page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
