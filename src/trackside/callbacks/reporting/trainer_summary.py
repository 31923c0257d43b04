"""`TrainerSummary`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Literal, final

from rich.text import Text

from trackside.callbacks.reporting import terminal
from trackside.callbacks.reporting.summary_lines import (
    beginning,
    best_values,
    ending,
    files,
    shares,
    speed,
)
from trackside.history import Mode, check_mode
from trackside.lifecycle.hooks import RankZeroCallback
from trackside.outcome import Outcome, Status
from trackside.progress import SkippedStep
from trackside.run import Run

_COLOURS = {
    Status.COMPLETED: "bold green",
    Status.STOPPED: "bold green",
    Status.INTERRUPTED: "bold yellow",
    Status.FAILED: "bold red",
    Status.DIVERGED: "bold red",
}


@final
class TrainerSummary(RankZeroCallback):
    """Says at the start of `fit` where it runs, and at its end how it went, whatever the end was.

    At the start: device, precision, ranks, folder, and the checkpoint that a resumed run goes on
    from. At the end: outcome and who asked for it; the best value of each evaluated metric and
    when; updates that were not made; where the files are; how long it took; the share of time of
    each callback; callbacks that failed.

    Args:
        modes: Which way is better, `min` or `max` by name, for metrics whose name doesn't say
            (losses and errors, accuracies and scores are known).

    Example:
        >>> TrainerSummary(modes={"val/margin": "max"})
        TrainerSummary(modes={'val/margin': 'max'})
    """

    effect = "observes"
    runs_in = ("fit",)
    on_error = "warn"

    def __init__(self, *, modes: Mapping[str, Literal["min", "max"]] | None = None) -> None:
        self.modes: dict[str, Mode] = {
            n: check_mode(mode, "modes") for n, mode in (modes or {}).items()
        }
        self._began = 0.0
        self._before: tuple[float, int, int] = (0.0, 0, 0)

    def on_attach(self, run: Run) -> None:
        self._began = perf_counter()
        self._before = (0.0, 0, 0)

    def on_fit_start(self, run: Run) -> None:
        # A resumed run has seconds and steps of earlier processes: this one reports its own.
        for line in beginning(run):
            terminal.say(line, hang=5)
        progress = run.progress
        self._before = (progress.seconds, progress.steps_completed, progress.samples_completed)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        wall_seconds = perf_counter() - self._began
        progress, (seconds, steps, samples) = run.progress, self._before
        terminal.say(Text(ending(outcome), _COLOURS[outcome.status]))
        lines = [("best", value) for value in best_values(run.history, self.modes)]
        took = speed(
            wall_seconds,
            progress.seconds - seconds,
            progress.steps_completed - steps,
            progress.samples_completed - samples,
            run.compile_seconds,
        )
        if run.skipped_steps:
            lines.append(("skipped", _skipped(run.skipped_steps)))
        lines += [("took", took), ("files", files(run.directory))]
        lines.append(("callbacks", shares(run.callback_seconds, wall_seconds)))
        lines += [("failed", f"{n}, {c} times") for n, c in run.callbacks.failures().items()]
        label_before = ""
        for label, text in lines:
            terminal.say(f"  {'' if label == label_before else label:10}{text}", hang=12)
            label_before = label


def _skipped(steps: Sequence[SkippedStep]) -> str:
    """`3 updates, the last at step 40: gradients are not finite (fp16), by precision`."""
    last = steps[-1]
    noun = "update" if len(steps) == 1 else "updates"
    return (
        f"{len(steps):,} {noun}, the last at step {last.step:,}: {last.reason}, by {last.asked_by}"
    )
