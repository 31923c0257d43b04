"""Rules about values of a run that look wrong: losses, metrics, updates."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

import numpy as np

from trackside.callbacks.reporting.figures import figure
from trackside.callbacks.reporting.report_page.findings import FEWEST, Finding, finite, remedy_for
from trackside.callbacks.reporting.report_page.reading import ReportedRun
from trackside.history import has_improved
from trackside.vocabulary.directions import Mode, direction

SKIPPED = 0.02
"""Share of all steps without an update above which it is reported."""
_NEIGHBOURS = 3
"""Values on each side with which a loss is compared to find spikes."""


def _measures(run: ReportedRun) -> Iterator[tuple[str, Mode]]:
    for name in run.history.names:
        mode = direction(name)
        if mode is not None and not name.startswith("train_recent/"):
            yield name, mode


def _not_finite(run: ReportedRun) -> Iterator[Finding]:
    """Losses and metrics that were NaN or infinite."""
    steps = run.history.axes()["step"]
    for name, _ in _measures(run):
        points = run.history.rows_of(name)
        bad = [(int(steps[row]), value) for row, value in points if not math.isfinite(value)]
        if bad:
            (first, value), to_the_end = bad[0], points[-len(bad) :]
            stays = len(bad) > 1 and not any(math.isfinite(value) for _, value in to_the_end)
            yield Finding(
                "not_finite",
                "wrong",
                f"{name} is not finite from step {first:,} on"
                if stays
                else f"{name} is {value} at step {first:,}",
                f"{len(bad)} of {len(points)} values",
                "Settings(non_finite='stop') ends a run at the first such loss and names the batch",
            )


def _learns_nothing(run: ReportedRun) -> Iterator[Finding]:
    """A loss that is the same throughout."""
    points = finite(run, "train/loss")
    values = [value for _, value in points]
    if len(values) < FEWEST:
        return
    spread = max(values) - min(values)
    if spread <= 1e-6 * max(abs(max(values)), abs(min(values)), 1e-12):
        rates = [v for n in run.history.names if n.startswith("lr/") for _, v in finite(run, n)]
        why = "the learning rate is 0" if rates and max(rates) == 0 else f"{len(values)} records"
        yield Finding(
            "learns_nothing",
            "wrong",
            f"the training loss does not move: it is {figure(values[0])} throughout",
            why,
            "look for a learning rate of 0, frozen parameters, an optimizer with other parameters, "
            "or a loss that is detached",
        )


def _rises(run: ReportedRun) -> Iterator[Finding]:
    """A training loss that grows."""
    points = finite(run, "train/loss")
    if len(points) < FEWEST:
        return
    third = max(1, len(points) // 3)
    first = statistics.median(value for _, value in points[:third])
    last = statistics.median(value for _, value in points[-third:])
    if first > 0 and last > 2 * first:
        yield Finding(
            "rises",
            "wrong",
            "the training loss rises",
            f"from {figure(first)} to {figure(last)}, medians of the first and last third",
            "a lower learning rate or a warm-up; look whether the loss has the right sign",
        )


def _no_better(run: ReportedRun) -> Iterator[Finding]:
    """A metric of an evaluation that was best long ago."""
    training = finite(run, "train/loss")
    for name, mode in _measures(run):
        points = finite(run, name)
        if name.startswith("train/") or len(points) < FEWEST:
            continue
        step, best = points[0]
        for at, value in points:
            if has_improved(value, best, mode, 1e-3 * abs(best)):
                step, best = at, value
        if step > points[0][0] + (points[-1][0] - points[0][0]) / 2:
            continue
        last, since = points[-1][1], sum(at > step for at, _ in points)
        evidence = f"best {figure(best)}, last {figure(last)}, {since} evaluations since"
        before = min((value for at, value in training if at <= step), default=-math.inf)
        worse = abs(last - best) > 0.1 * abs(best) and has_improved(best, last, mode)
        if worse and training and training[-1][1] < before:
            yield Finding(
                "overfits",
                "wrong",
                f"{name} gets worse since step {step:,}, while the training loss falls",
                evidence,
                "EarlyStopping, more data or augmentation, weight decay; "
                "`trackside.load(run, 'best')` has the best weights if they were kept",
            )
        else:
            yield Finding(
                "plateau",
                "note",
                f"{name} got no better after step {step:,}",
                evidence,
                "EarlyStopping ends such a run; a lower learning rate, say by ReduceLROnPlateau, "
                "may help",
            )


def _spikes(run: ReportedRun) -> Iterator[Finding]:
    """Single training losses far above those around them."""
    name = "train_recent/loss" if "train_recent/loss" in run.history.names else "train/loss"
    points = finite(run, name)
    if len(points) < 4 * _NEIGHBOURS:
        return
    values = np.array([value for _, value in points])
    windows = np.lib.stride_tricks.sliding_window_view(values, 2 * _NEIGHBOURS + 1)
    levels = np.median(windows, axis=1)
    above = values[_NEIGHBOURS:-_NEIGHBOURS] - levels
    noise = float(np.median(np.abs(above)))
    places = np.flatnonzero((above > 12 * noise) & (above > 0.5 * np.abs(levels))) + _NEIGHBOURS
    if len(places):
        worst = max(places.tolist(), key=lambda place: points[place][1])
        others = f" and {len(places) - 1} other times" if len(places) > 1 else ""
        yield Finding(
            "spikes",
            "wrong",
            f"the training loss jumps at step {points[worst][0]:,}{others}",
            f"{figure(points[worst][1])}, where {figure(float(levels[worst - _NEIGHBOURS]))} is "
            "the median around it",
            "`clip`, a lower learning rate, or a look at the batches of that step",
        )


def _skipped(run: ReportedRun) -> Iterator[Finding]:
    """Updates that were not made."""
    count = run.skipped_in_all
    if run.skipped_steps and run.step and count / run.step >= SKIPPED:
        last = run.skipped_steps[-1]
        yield Finding(
            "skipped",
            "wrong",
            f"{count:,} of {run.step:,} steps made no update",
            f"last at step {last.get('step')}: {last.get('reason')}",
            remedy_for(str(last.get("reason")), "bf16 in place of fp16, or a lower learning rate"),
        )


def _ended_epochs(run: ReportedRun) -> Iterator[Finding]:
    """Epochs whose rest was left out."""
    if run.ended_epochs:
        count, last = len(run.ended_epochs), run.ended_epochs[-1]
        asked = f"asked by {last.get('asked_by')}: {last.get('reason')}"
        yield Finding(
            "ended_epochs",
            "note",
            f"{count:,} of the epochs ended on request, before the data did",
            f"last at step {last.get('step')}, {asked}",
        )


VALUE_RULES = (_not_finite, _learns_nothing, _rises, _no_better, _spikes, _skipped, _ended_epochs)
