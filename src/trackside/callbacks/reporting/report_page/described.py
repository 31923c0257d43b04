"""One run in the words and figures of its report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trackside.callbacks.reporting.figures import duration, figure, share, size
from trackside.callbacks.reporting.phases import PHASES
from trackside.callbacks.reporting.report_page.curves import recorded_once, status_word
from trackside.callbacks.reporting.report_page.diagnosis import diagnose
from trackside.callbacks.reporting.report_page.pictures import pictures_of
from trackside.callbacks.reporting.report_page.reading import KeptCheckpoint, ReportedRun
from trackside.callbacks.reporting.report_page.sessions import UNFINISHED, Session
from trackside.callbacks.reporting.report_page.spent import spent
from trackside.callbacks.reporting.report_page.texts import texts_of
from trackside.history import Mode
from trackside.vocabulary.directions import direction

_LISTED = 200
"""Decisions and warnings of a kind that the page lists."""


@dataclass(frozen=True, slots=True)
class _BestRow:
    name: str
    better: str
    best: str
    step: str
    last: str


def describe(run: ReportedRun) -> dict[str, Any]:
    """Values of a run by their name in the template."""
    shown, left_out = pictures_of(run.folder)
    return {
        "name": run.name,
        "status": run.status,
        "mark": status_word(run.status),
        "reason": run.reason or _why_open(run),
        "asked_by": run.asked_by,
        "step": f"{run.step:,}",
        "took": duration(run.seconds),
        "facts": list(_facts(run)),
        "best": list(_best_rows(run)),
        "best_of": {name: figure(value) for name, (value, _, _) in best_of(run).items()},
        "findings": diagnose(run),
        "sessions": list(_sessions(run)),
        "decisions": list(_decisions(run)),
        "warnings": run.warnings[:_LISTED],
        "problems": run.problems,
        "once": [
            (name, _amount(name, value)) for name, value in recorded_once(run.thinned()).items()
        ],
        "spent": spent(run),
        "shares": list(_shares(run)),
        "checkpoints": [_checkpoint(one) for one in run.checkpoints],
        "gone": [{"name": g.name, "step": f"{g.step:,}", "at": at(g.deleted_at)} for g in run.gone],
        "texts": texts_of(run.folder, run.step),
        "pictures": shown,
        "pictures_left_out": _left_out(left_out),
        "configuration": options_of(run),
        "default_options": left_as_they_are(run),
        "environment": list(_environment(run)),
        "packages": [f"{n} {v}" for n, v in _mapping(run.environment.get("packages")).items()],
        "changes": run.changes,
    }


def at(text: str) -> str:
    """`2026-11-26 20:24:37 UTC` of a time in ISO 8601."""
    return text.replace("T", " ").replace("+00:00", " UTC")


def _why_open(run: ReportedRun) -> str:
    if run.status != UNFINISHED:
        return ""
    return f"it goes on, in {run.holder}" if run.holder is not None else "it was killed"


def _facts(run: ReportedRun) -> Iterator[tuple[str, str]]:
    yield "steps", f"{run.step:,}"
    yield "epochs", f"{run.epoch:,}"
    yield "samples", f"{run.samples:,}"
    yield "time of training", duration(run.seconds)
    if run.seconds > 0 and run.samples:
        yield "samples per second", f"{run.samples / run.seconds:,.0f}"
    if run.goodput is not None:
        yield "goodput", f"{share(run.goodput)} of the time since it began"
    if len(run.sessions) > 1:
        yield "sessions", f"{len(run.sessions)}"
    if run.skipped_in_all:
        yield "updates skipped", f"{run.skipped_in_all:,}"
    memory = [n for n in run.history.names if n.startswith("memory/") and n.endswith("peak_bytes")]
    for name in memory:
        best = run.history.best(name, "max")
        if best is not None:
            words = name.removeprefix("memory/").removesuffix("_peak_bytes").replace("_", " ")
            yield f"memory at most, {words}", size(best.value)
    if run.started:
        yield "started", at(run.started)
    if run.ended:
        yield "ended", at(run.ended)
    yield "folder", str(run.folder)


def best_of(run: ReportedRun) -> dict[str, tuple[float, int, Mode]]:
    """Best value, its step, and the direction of each metric that has one."""
    found = {}
    for name in run.history.names:
        mode = direction(name)
        best = None if mode is None else run.history.best(name, mode)
        if mode is not None and best is not None:
            found[name] = (best.value, best.record.step, mode)
    return found


def _best_rows(run: ReportedRun) -> Iterator[_BestRow]:
    for name, (value, step, mode) in best_of(run).items():
        if name.startswith("train_recent/"):
            continue
        last = run.history.latest(name)
        better = "lower" if mode == "min" else "higher"
        yield _BestRow(
            name, better, figure(value), f"{step:,}", "–" if last is None else figure(last)
        )


def best_names(runs: Sequence[ReportedRun]) -> list[str]:
    """Metrics of evaluations that some run has, at most six."""
    names = dict.fromkeys(name for run in runs for name in best_of(run))
    aside = ("train/", "train_recent/")
    return [name for name in names if not name.startswith(aside)][:6]


def _sessions(run: ReportedRun) -> Iterator[dict[str, str]]:
    for one in run.sessions:
        goes_on = run.holder is not None and one is run.sessions[-1]
        yield _session(one, "goes on" if goes_on else "was killed")


def _session(one: Session, without_end: str) -> dict[str, str]:
    last = "" if one.last_step is None else f"{one.last_step:,}"
    return {
        "begun": at(one.begun),
        "ended": at(one.ended) if one.ended else "–",
        "steps": f"{one.first_step:,} – {last}",
        "status": one.status if one.ended else without_end,
        "resumed_from": one.resumed_from or "the start",
        "ranks": str(one.ranks),
        "host": one.host,
    }


def _decisions(run: ReportedRun) -> Iterator[str]:
    for one in run.rollbacks[:_LISTED]:
        yield (
            f"went back from step {one.get('from_step')} to {one.get('to_step')}, asked by"
            f" {one.get('asked_by')}: {one.get('reason')}"
        )
    for one in run.halvings[:_LISTED]:
        yield (
            f"memory ran out in step {one.get('step')}: batches in parts of {one.get('samples')} "
            f"samples from there on: {one.get('reason')}"
        )
    for one in run.skipped_steps[:_LISTED]:
        yield f"step {one.get('step')} made no update, asked by {one.get('asked_by')}: " + str(
            one.get("reason")
        )
    for one in run.ended_epochs[:_LISTED]:
        yield (
            f"an epoch ended early, at step {one.get('step')}, asked by {one.get('asked_by')}:"
            f" {one.get('reason')}"
        )
    if run.reason:
        by = f", asked by {run.asked_by}" if run.asked_by else ""
        yield f"{run.status} at step {run.step:,}{by}: {run.reason}"


def _shares(run: ReportedRun) -> Iterator[dict[str, Any]]:
    if run.seconds <= 0:
        return
    parts = sorted(run.callback_seconds.items(), key=lambda item: -item[1])
    for name, seconds in parts:
        part = seconds / run.seconds
        yield {
            "name": name,
            "seconds": f"{seconds:.3g}",
            "share": share(part),
            "width": f"{min(100.0, 100 * part):.2f}",
        }


def options_of(run: ReportedRun) -> list[dict[str, str]]:
    """Options that are given, by name, each with its default and whether it differs from that."""
    return [
        {
            "name": name,
            "value": value,
            "default": run.defaults.get(name, ""),
            "mark": _mark(value, run.defaults.get(name)),
        }
        for name, value in sorted(run.configuration.items())
    ]


def _mark(value: str, default: str | None) -> str:
    if default is None:
        return "given"
    return "default" if value == default else "differs"


def left_as_they_are(run: ReportedRun) -> list[tuple[str, str]]:
    """Options that are not given, with their defaults."""
    given = run.configuration
    return sorted((name, value) for name, value in run.defaults.items() if name not in given)


def _amount(name: str, value: float) -> str:
    """A value that is recorded once: sizes and counts as such."""
    if name.endswith("bytes"):
        return size(value)
    return f"{int(value):,}" if value.is_integer() and abs(value) < 1e15 else figure(value)


def _checkpoint(one: KeptCheckpoint) -> dict[str, str]:
    return {
        "name": one.name,
        "step": f"{one.step:,}",
        "size": size(one.size_bytes),
        "reason": one.reason,
        "state": one.problem or "its description is whole",
    }


def _environment(run: ReportedRun) -> Iterator[tuple[str, str]]:
    packages = _mapping(run.environment.get("packages"))
    command = run.environment.get("command")
    if isinstance(command, list):
        yield "command", " ".join(map(str, command))
    for key, words in (("python", "Python"), ("platform", "machine")):
        if isinstance(value := run.environment.get(key), str):
            yield words, value
    if "torch" in packages:
        yield "torch", str(packages["torch"])
    if isinstance(commit := run.environment.get("git_commit"), str):
        changed = ", with changes" if run.environment.get("git_changes") else ""
        yield "commit", commit + changed


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _left_out(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 8} others" if len(names) > 8 else ""
    return "Not shown, as the page would be too large: " + ", ".join(names[:8]) + more


def summary(run: ReportedRun) -> dict[str, Any]:
    """A run in plain values, as `trackside report --json` prints it."""
    return {
        "name": run.name,
        "folder": str(run.folder),
        "status": run.status,
        "reason": run.reason,
        "asked_by": run.asked_by,
        "step": run.step,
        "epoch": run.epoch,
        "samples": run.samples,
        "seconds": run.seconds,
        "goodput": run.goodput,
        "sessions": len(run.sessions),
        "warnings": [one.text for one in run.warnings],
        "best": {n: {"value": v, "step": s, "mode": m} for n, (v, s, m) in best_of(run).items()},
        "last": {
            name: value
            for name in run.history.names
            if (value := run.history.latest(name)) is not None and math.isfinite(value)
        },
        "callback_seconds": dict(run.callback_seconds),
        "seconds_by_phase": {
            name: sum(one.phases.get(name, 0.0) for one in run.sessions) for name in PHASES
        },
        "checkpoints": [one.name for one in run.checkpoints],
        "checkpoints_deleted": [one.name for one in run.gone],
        "differs_from_defaults": {
            row["name"]: row["value"] for row in options_of(run) if row["mark"] != "default"
        },
        "problems": run.problems,
    }
