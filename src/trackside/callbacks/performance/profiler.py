"""Profiler: a trace of a few steps, and a table of what took longest."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, final

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from trackside.lifecycle.hooks import Callback
from trackside.outcome import Outcome
from trackside.progress import whole_number
from trackside.run import Run
from trackside.run_folder.inside import folder_inside, replace_inside, unlinked

logger = logging.getLogger("trackside")

_SNAPSHOT_ENTRIES = 100_000
"""Allocations that a memory snapshot looks back on."""


@final
class Profiler(Callback):
    """Records some steps with torch.profiler, and writes what it saw into the run's folder.

    After every `active` steps, `profile/` gets a trace to open in a browser (ui.perfetto.dev, or
    chrome://tracing) and a table of the costliest operations. Every rank writes its own. A
    profiled step is slower than others.

    Args:
        skip: Steps at the beginning that are never recorded (compilation, caches).
        wait: Steps before each recording.
        warmup: Steps that are recorded and thrown away, because the profiler itself starts up;
            without any, the first step of a recording looks slower than it is.
        active: Steps of a recording.
        repeat: Recordings; 0 goes on until training ends.
        rows: Operations in the table.
        memory: Whether allocations are recorded in the trace.
        shapes: Whether the shapes of inputs are recorded.
        stacks: Whether the lines of code are recorded.
        memory_snapshot: Whether a page shows who holds the device's memory at the end of each
            recording; on CUDA, elsewhere it says so and leaves it out.

    Raises:
        ConfigurationError: A number of steps that isn't one.

    Example:
        >>> Profiler(wait=10, active=3)
    """

    effect = "observes"
    on_error = "warn"

    def __init__(
        self,
        *,
        skip: int = 10,
        wait: int = 0,
        warmup: int = 2,
        active: int = 3,
        repeat: int = 1,
        rows: int = 30,
        memory: bool = False,
        shapes: bool = False,
        stacks: bool = False,
        memory_snapshot: bool = False,
    ) -> None:
        counts = {"skip": skip, "wait": wait, "warmup": warmup, "repeat": repeat}
        for name, value in {**counts, "active": active, "rows": rows}.items():
            whole_number(value, name, at_least=int(name in ("active", "rows")))
        with _no_warnings():
            self._schedule = schedule(
                skip_first=skip, wait=wait, warmup=warmup, active=active, repeat=repeat
            )
        self.memory = memory
        self.shapes = shapes
        self.stacks = stacks
        self.rows = rows
        self.memory_snapshot = memory_snapshot
        self._profile: Any = None
        self._records_memory = False

    def on_fit_start(self, run: Run) -> None:
        activities = [ProfilerActivity.CPU]
        if (device := device_activity(run.device)) is not None:
            activities.append(device)
        with _no_warnings():
            self._profile = self._new(run, activities)
            self._profile.start()
        if self.memory_snapshot and run.device.type == "cuda":
            torch.cuda.memory._record_memory_history(max_entries=_SNAPSHOT_ENTRIES)
            self._records_memory = True
        elif self.memory_snapshot:
            logger.warning("there is no memory snapshot on %s: left out", run.device.type)

    def _new(self, run: Run, activities: list[ProfilerActivity]) -> Any:
        return profile(
            activities=activities,
            schedule=self._schedule,
            on_trace_ready=partial(self._write, run),
            profile_memory=self.memory,
            record_shapes=self.shapes,
            with_stack=self.stacks,
        )

    def on_step_end(self, run: Run) -> None:
        if self._profile is not None:
            with _no_warnings():
                self._profile.step()

    def on_fit_end(self, run: Run) -> None:
        self._stop()

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self._stop()

    def _stop(self) -> None:
        stopping, self._profile = self._profile, None
        if stopping is not None:
            with _no_warnings():
                stopping.stop()
        if self._records_memory:
            self._records_memory = False
            torch.cuda.memory._record_memory_history(enabled=None)

    def _write(self, run: Run, recorded: Any) -> None:
        folder = folder_inside(run.directory, "profile")
        name = f"step-{run.progress.steps_completed:010d}-rank-{run.world.rank}"
        recorded.export_chrome_trace(str(unlinked(folder / f"{name}.json")))
        side = "cpu" if device_activity(run.device) is None else "device"
        table = recorded.key_averages().table(
            sort_by=f"self_{side}_time_total", row_limit=self.rows
        )
        replace_inside(folder, f"{name}.txt", f"{table}\n")
        if self._records_memory:
            from torch.cuda import _memory_viz  # noqa: PLC0415 - only where it is wanted

            # As a page: torch's own file of a snapshot would be a pickle.
            page = _memory_viz.trace_plot(torch.cuda.memory._snapshot())  # type: ignore[no-untyped-call]
            replace_inside(folder, f"{name}-memory.html", page)
        logger.info("wrote the profile of some steps to %s", folder / name)


def device_activity(device: torch.device) -> ProfilerActivity | None:
    """Its work on the device, where torch records that of its kind; None: the host's alone."""
    return None if device.type == "cpu" else getattr(ProfilerActivity, device.type.upper(), None)


@contextmanager
def _no_warnings() -> Iterator[None]:
    # torch warns of things that are meant here (no warm-up, several recordings). Where warnings are
    # errors, one in the middle of a start or stop leaves the profiler broken: the process crashes.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
