"""Rules about time and memory of a run."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from itertools import pairwise

from trackside.callbacks.reporting.figures import duration, figure, share, size
from trackside.callbacks.reporting.report_page.findings import FEWEST, Finding, finite
from trackside.callbacks.reporting.report_page.reading import ReportedRun

DATA_WAIT = 0.2
"""Share of the time for data above which it is reported."""
CALLBACKS = 0.1
"""Share of the time for callbacks above which it is reported."""
GOODPUT = 0.7
"""Share of training that counts below which it is reported."""
COMPILING = 0.2
"""Share of the time for compilations above which it is reported."""
FORMS = 8
"""Compilations of a session from which batches have many shapes: a few are of its first steps."""
LONG_SECONDS = 60.0
"""Of training; of a shorter run, times are those of its start."""


def _data_wait(run: ReportedRun) -> Iterator[Finding]:
    """Time spent waiting for batches."""
    points = finite(run, "throughput/data_wait_share")[1:]  # the first has the workers' start
    if not points or run.seconds < LONG_SECONDS:
        return
    typical = statistics.median(value for _, value in points)
    if typical >= DATA_WAIT:
        yield Finding(
            "data_wait",
            "slow",
            f"the loop waits for data {share(typical)} of the time",
            f"median of {len(points)} records",
            "more loader workers (`num_workers`), persistent ones, cheaper transforms, "
            "or data in memory",
        )


def _callbacks(run: ReportedRun) -> Iterator[Finding]:
    """Time spent in callbacks."""
    spent = sum(run.callback_seconds.values())
    if run.seconds >= LONG_SECONDS and spent / run.seconds >= CALLBACKS:
        name, most = max(run.callback_seconds.items(), key=lambda item: item[1])
        yield Finding(
            "callbacks",
            "slow",
            f"callbacks take {share(spent / run.seconds)} of the time, most of it `{name}`",
            f"`{name}` {duration(most)} of {duration(run.seconds)}",
            f"give `{name}` a rarer schedule, or leave it out",
        )


def _compilations(run: ReportedRun) -> Iterator[Finding]:
    """Steps that were compiled again and again, for batches of other shapes."""
    part = run.compile_seconds / run.seconds if run.seconds >= LONG_SECONDS else 0.0
    if run.compilations >= FORMS or part >= COMPILING:
        yield Finding(
            "compilations",
            "slow",
            f"steps were compiled {run.compilations} times",
            f"{duration(run.compile_seconds)} of {duration(run.seconds)}",
            "batches of few shapes: `drop_last=True`, or texts padded to a few lengths; else "
            "`step='eager'`",
        )


def _gets_slower(run: ReportedRun) -> Iterator[Finding]:
    """Steps that take longer at the end than at the beginning."""
    points = [value for _, value in finite(run, "throughput/steps_per_second")][1:]
    if len(points) < 2 * FEWEST or run.seconds < LONG_SECONDS:
        return
    third = len(points) // 3
    first, last = statistics.median(points[:third]), statistics.median(points[-third:])
    if last < 0.6 * first:
        yield Finding(
            "gets_slower",
            "slow",
            "steps get slower in the course of the run",
            f"{figure(first)} steps per second in the first third, {figure(last)} in the last",
            "look for lists that grow (outputs that are kept with their graph), a machine that is "
            "shared, or heat",
        )


def _memory_grows(run: ReportedRun) -> Iterator[Finding]:
    """Memory of the host that grows steadily."""
    points = [value for _, value in finite(run, "memory/host_peak_bytes")]
    if len(points) < 2 * FEWEST:
        return
    half = points[len(points) // 2 :]
    rises = sum(b > a for a, b in pairwise(half))
    if rises >= 0.8 * (len(half) - 1) and half[-1] > 1.2 * half[0]:
        yield Finding(
            "memory_grows",
            "wrong",
            "the memory of the process grows with every record",
            f"{size(half[0])} in the middle of the run, {size(half[-1])} at its end",
            "look for tensors that are kept with their graph: append `loss.item()` or "
            "`loss.detach()`, not `loss`",
        )


def _goodput(run: ReportedRun) -> Iterator[Finding]:
    """Time between sessions, and steps that were made twice."""
    if len(run.sessions) < 2 or run.goodput is None or run.goodput >= GOODPUT:
        return
    again = 0
    for before, after in pairwise(run.sessions):
        if before.last_step is not None:
            again += max(0, before.last_step - after.first_step)
    if not again and run.seconds < LONG_SECONDS:
        return
    yield Finding(
        "goodput",
        "slow",
        f"only {share(run.goodput)} of the time since it was begun was training that counts",
        f"{len(run.sessions)} sessions" + (f", {again:,} steps made twice" if again else ""),
        "save more often (`Checkpoint(every='10 minutes')`), so that less is made twice"
        if again
        else "no step was made twice: the rest went by between sessions and in their starts",
    )


TIME_RULES = (_data_wait, _callbacks, _compilations, _gets_slower, _memory_grows, _goodput)
