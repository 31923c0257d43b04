"""Status of a run in one line: the logic of the progress bar."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from trackside.callbacks.reporting.figures import duration, figure, rate
from trackside.run import Run

WINDOW = 40
"""Readings over which the shown rate is taken."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Content of the bar at one moment."""

    steps: int = 0
    total_steps: int | None = None
    epoch: int = 1
    """The epoch under way, from 1."""
    total_epochs: int | None = None
    samples: int = 0
    loss: float | None = None
    passing: str | None = None
    """Name of the data that is evaluated or predicted now."""
    batches: int = 0
    """Batches of it that are done."""
    total_batches: int | None = None
    fitting: bool = True
    skipped: int = 0
    """Updates that were not made, as far as the host knows."""


def standing(run: Run, predicted_batches: int = 0) -> Standing:
    """The status of `run`. Only reads: it may be called from another thread at any time."""
    progress, limit, evaluation = run.progress, run.limit, run.evaluation
    fitting = run.mode == "fit"
    passing, batches, total_batches = None, 0, None
    if evaluation is not None:
        passing, total_batches = evaluation.name, evaluation.batches
        batches = evaluation.batches_completed
    elif run.mode == "predict":
        passing, batches = "predict", predicted_batches
        total_batches = next((source.batches for source in run.data.values()), None)
    epoch = progress.epochs_completed + 1
    return Standing(
        progress.steps_completed,
        limit.total_steps,
        epoch if limit.epochs is None else min(epoch, limit.epochs),
        limit.epochs,
        progress.samples_completed,
        run.history.latest("train_recent/loss", run.history.latest("train/loss")),
        passing,
        batches,
        total_batches,
        fitting,
        len(run.skipped_steps),
    )


class Pace:
    """Speed of a run, and its remaining time."""

    def __init__(self) -> None:
        self._start: tuple[float, int] | None = None
        self._readings: deque[tuple[float, int]] = deque(maxlen=WINDOW)

    def read(self, now: float, at: Standing) -> tuple[float | None, float | None]:
        """Take a reading at the time `now`, in seconds.

        Returns:
            Samples per second over the last readings, and seconds left by the average since the
            first one (evaluations included); None where it isn't known.
        """
        if self._start is None:
            self._start = (now, at.steps)
        self._readings.append((now, at.samples))
        then, samples = self._readings[0]
        speed = (at.samples - samples) / (now - then) if now > then else None
        began, steps = self._start
        left = None
        if at.total_steps is not None and steps < at.steps <= at.total_steps and now > began:
            left = (at.total_steps - at.steps) * (now - began) / (at.steps - steps)
        return speed or None, left or None


def fraction(at: Standing) -> float | None:
    """Completed share of the run, 0 to 1; None where the end isn't known."""
    done, total = (
        (at.steps, at.total_steps) if at.fitting else (float(at.batches), at.total_batches)
    )
    return min(1.0, done / total) if total else None


def words(at: Standing, speed: float | None = None, left: float | None = None) -> str:
    """`epoch 3/20 · step 120/1,800 · loss 0.4321 · 12,345 samples/s · 0:42 left`."""
    parts = []
    if at.fitting:
        parts.append(f"epoch {_of(at.epoch, at.total_epochs)}")
        parts.append(f"step {_of(at.steps, at.total_steps)}")
        if at.skipped:
            parts.append(f"{at.skipped:,} skipped")
        if at.loss is not None:
            parts.append(f"loss {figure(at.loss)}")
        if speed is not None:
            parts.append(rate(speed, "samples"))
        if left is not None:
            parts.append(f"{duration(left)} left")
    if at.passing is not None:
        parts.append(f"{at.passing} {_of(at.batches, at.total_batches)}")
    return " · ".join(parts)


def bar(done: float | None, width: int) -> tuple[str, str]:
    """The full and the empty part of a bar of `width` characters."""
    if done is None or width < 4:
        return "", ""
    full = round(done * width)
    return "━" * full, "─" * (width - full)


def _of(done: int, total: int | None) -> str:
    return f"{done:,}" if total is None else f"{done:,}/{total:,}"
