"""Names of files with counters and metrics in them: `step-{step}-{val/loss:.3f}.safetensors`."""

from __future__ import annotations

import math
from string import Formatter

from trackside.errors import ConfigurationError
from trackside.run import Run

COUNTERS = ("step", "epoch", "samples")


def metrics_in(pattern: str) -> tuple[str, ...]:
    """The metrics that a pattern names: every field that isn't a counter.

    Raises:
        ConfigurationError: The pattern is invalid: a brace is open, a field has no name.
    """
    try:
        fields = [field for _, field, _, _ in Formatter().parse(pattern) if field is not None]
        pattern.format_map({field: 0.0 for field in fields if field not in COUNTERS} | _zeros())
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise ConfigurationError(
            f"the name {pattern!r} can't be filled in: {error}",
            expected="fields such as {step}, {epoch}, {samples}, {val/loss:.3f}",
            option="file",
        ) from error
    return tuple(field for field in fields if field not in COUNTERS)


def filled_in(pattern: str, run: Run) -> str:
    """The pattern with the counters and the latest metrics of `run`; `nan` where there is none."""
    progress = run.progress
    counters: dict[str, float] = {
        "step": progress.steps_completed,
        "epoch": progress.epochs_completed,
        "samples": progress.samples_completed,
    }
    latest = {name: run.history.latest(name, math.nan) for name in metrics_in(pattern)}
    return pattern.format_map(counters | latest)


def _zeros() -> dict[str, float]:
    return dict.fromkeys(COUNTERS, 0)
