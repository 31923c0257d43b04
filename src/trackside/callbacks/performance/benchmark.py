"""Benchmark: how long forward, backward and update take."""

from __future__ import annotations

import json
from typing import Any, Literal, final

from torch import Tensor
from torch.optim import Optimizer

from trackside.callbacks.performance.stopwatch import Stopwatch, summary
from trackside.lifecycle.hooks import Batch, Callback
from trackside.progress import whole_number
from trackside.run import Run
from trackside.run_folder.inside import replace_inside


@final
class Benchmark(Callback):
    """Times the phases of some steps: waiting for data, forward, backward, update, the whole.

    On an accelerator by events on the device, which don't make it wait; on the CPU by the clock.
    The medians are logged as `benchmark/forward_seconds` and so on, and `benchmark.json` in the
    run's folder has mean and spread beside them. A phase includes what other callbacks do in it.

    Args:
        steps: How many steps are timed.
        skip: Steps before them that are not (compilation, caches); counted from where the run
            begins, or goes on.

    Raises:
        ConfigurationError: A number of steps that isn't one.

    Example:
        >>> Benchmark(steps=200)
    """

    effect = "observes"
    looks_into_backward: Literal["always", "on several ranks"] = "always"
    on_error = "warn"
    logs = ("benchmark/*",)

    def __init__(self, steps: int = 100, *, skip: int = 10) -> None:
        self.steps = whole_number(steps, "steps", at_least=1)
        self.skip = whole_number(skip, "skip")
        self.results: dict[str, dict[str, float]] = {}
        """Seconds by phase: median, mean, p10, p90; known once the steps are done."""
        self._watch: Stopwatch | None = None
        self._first = 0
        self._data: list[float] = []
        self._waited = 0.0
        self._samples = 0

    def on_fit_start(self, run: Run) -> None:
        self._watch = None
        self._first = run.progress.steps_completed + self.skip
        self.results = {}
        self._data.clear()

    def on_step_start(self, run: Run) -> None:
        if run.progress.steps_completed == self._first and not self.results:
            self._watch = Stopwatch(run.device)
            self._samples = run.progress.samples_completed
        elif self._watch is not None:
            # The wait for the first batch of a step lies before the step.
            self._data.append(run.data_wait_seconds - self._waited)
        if self._watch is not None:
            self._watch.lap()
            self._watch.start("step")

    def on_batch_start(self, run: Run, batch: Batch) -> None:
        if self._watch is not None:
            self._watch.start("forward")

    def on_backward_start(self, run: Run, loss: Tensor) -> None:
        if self._watch is not None:
            self._watch.stop("forward")
            self._watch.start("backward")

    def on_backward_end(self, run: Run, loss: Tensor) -> None:
        if self._watch is not None:
            self._watch.stop("backward")

    def on_optimizer_step_start(self, run: Run, optimizer: Optimizer) -> None:
        if self._watch is not None:
            self._watch.start("optimizer")

    def on_optimizer_step_end(self, run: Run, optimizer: Optimizer) -> None:
        if self._watch is not None:
            self._watch.stop("optimizer")

    def on_step_end(self, run: Run) -> None:
        if self._watch is None:
            return
        self._watch.stop("step")
        self._waited = run.data_wait_seconds
        if run.progress.steps_completed >= self._first + self.steps:
            self._finish(run)

    def on_fit_end(self, run: Run) -> None:
        if self._watch is not None:  # a run of fewer steps
            self._finish(run)

    def _finish(self, run: Run) -> None:
        assert self._watch is not None, "called while timing"
        laps = self._watch.seconds()
        self._watch = None
        self.results = summary(laps)
        if self._data:
            self.results |= summary([{"data": seconds} for seconds in self._data])
        for phase, found in self.results.items():
            run.log(f"benchmark/{phase}_seconds", found["median"], weight=1.0)
        if run.world.is_global_zero:
            self._write(run, laps)

    def _write(self, run: Run, laps: list[dict[str, float]]) -> None:
        samples = run.progress.samples_completed - self._samples
        report: dict[str, Any] = {
            "device": str(run.device),
            "steps": len(laps),
            "samples_per_step": samples / len(laps),
            "seconds": self.results,
        }
        path = run.directory / "benchmark.json"
        replace_inside(run.directory, path.name, json.dumps(report, indent=2) + "\n")
