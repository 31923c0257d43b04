"""The summary at the end of a run, as labelled lines."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from pathlib import Path

from trackside.callbacks.reporting.figures import duration, figure, rate, share
from trackside.history import History, Mode, Record
from trackside.outcome import Outcome
from trackside.progress import counted
from trackside.run import Run
from trackside.vocabulary.directions import direction

LISTED_CALLBACKS = 3
LISTED_FILES = 8


def beginning(run: Run) -> Iterator[str]:
    """`run: cuda:0 · bf16 · 2 ranks · runs/digits`, and where a resumed run goes on."""
    ranks = run.world.size
    parts = [str(run.device), run.precision.name]
    if ranks > 1:
        parts.append(f"{ranks} ranks")
    yield "run: " + " · ".join([*parts, str(run.directory)])
    if run.resumed_from is not None:
        step, epoch = run.progress.steps_completed, run.progress.epochs_completed
        yield f"resumed at step {step:,}, after {epoch:,} whole epochs, from {run.resumed_from}"


def ending(outcome: Outcome) -> str:
    """`stopped by early_stopping at step 300: val/loss has not improved ...`."""
    who = outcome.asked_by
    by = f" by {who}" if who and who != "signal" else ""
    return f"{outcome.status.value}{by} at step {outcome.step:,}: {outcome.reason}"


def best_values(history: History, modes: Mapping[str, Mode]) -> Iterator[str]:
    """Per metric of an evaluation: its best value, when that was, and the last one."""
    for name in history.names:
        topic = name.partition("/")[0]
        mode = modes.get(name) or direction(name)
        if mode is None or topic in ("train", "train_recent"):
            continue
        best = history.best(name, mode)
        if best is None:
            yield f"{name} was never a number"
            continue
        record, last = best.record, history.latest(name)
        at = f"at step {record.step:,} ({_epoch_of(record, history)})"
        ended = "" if last == best.value or last is None else f", last {figure(last)}"
        yield f"{name} {figure(best.value)} {at}{ended}"


def _epoch_of(record: Record, history: History) -> str:
    """`epoch 2` after its end, `in epoch 3` before that of the third."""
    first = bisect_left(range(len(history)), record.epoch, key=lambda row: history[row].epoch)
    is_end = record.epoch > 0 and record.step == history[first].step
    return f"epoch {record.epoch}" if is_end else f"in epoch {record.epoch + 1}"


def speed(
    wall_seconds: float,
    training_seconds: float,
    steps: int,
    samples: int,
    compile_seconds: float = 0.0,
) -> str:
    """`12.3 s (training 10.1 s) · 840 steps · 26,880 samples · 2,661 samples/s`.

    Of the training, what was spent compiling steps is said, where it was anything.
    """
    compiling = f", {duration(compile_seconds)} of it compiling" if compile_seconds else ""
    parts = [f"{duration(wall_seconds)} (training {duration(training_seconds)}{compiling})"]
    parts += [counted(steps, "step"), counted(samples, "sample")]
    if training_seconds > 0 and samples:
        parts.append(rate(samples / training_seconds, "samples"))
    return " · ".join(parts)


def files(directory: Path) -> str:
    """The run's folder and what is in it."""
    if not directory.is_dir():
        return "none written"
    shown = [p for p in directory.iterdir() if not p.name.startswith(".")]
    names = sorted(f"{p.name}/" if p.is_dir() else p.name for p in shown)
    more = ", ..." if len(names) > LISTED_FILES else ""
    inside = ": " + ", ".join(names[:LISTED_FILES]) + more if names else " (empty)"
    return f"{directory}{inside}"


def shares(seconds: Mapping[str, float], wall_seconds: float) -> str:
    """`2.1 % of the time: table 0.8 %, history 0.5 %, 4 others 0.1 %`."""
    if not seconds or wall_seconds <= 0:
        return "none"
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    shown = [f"{name} {share(spent / wall_seconds)}" for name, spent in ordered[:LISTED_CALLBACKS]]
    others = [spent for _, spent in ordered[LISTED_CALLBACKS:]]
    if others:
        noun = "other" if len(others) == 1 else "others"
        shown.append(f"{len(others)} {noun} {share(sum(others) / wall_seconds)}")
    return f"{share(sum(seconds.values()) / wall_seconds)} of the time: " + ", ".join(shown)
