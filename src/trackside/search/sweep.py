"""A sweep as it was asked for, and the words for its trials."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trackside.config.experiment.loading import load
from trackside.errors import ConfigurationError
from trackside.history import check_mode
from trackside.search.checks import check, without_effect
from trackside.search.space import Dimension, Value, override, space_of
from trackside.search.store import Store, Trial
from trackside.vocabulary.directions import Mode, direction

if TYPE_CHECKING:
    from trackside.config.experiment.experiment import Experiment


@dataclass(frozen=True, slots=True)
class Sweep:
    """A search as it was asked for."""

    files: tuple[str, ...]
    overrides: tuple[str, ...]
    folder: Path
    trials: int
    monitor: str
    mode: Mode
    space: tuple[Dimension, ...]
    seed: int = 0
    prune: bool = False
    configuration: str = ""
    """Digest of the configuration, its ranges as they are written."""
    without_effect: tuple[str, ...] = ()
    """A line for each option of the configuration that the sweep decides by itself."""

    def store(self) -> Store:
        """Its trials."""
        asked = (self.folder, list(self.space), self.monitor, self.mode)
        return Store(*asked, seed=self.seed, prune=self.prune, configuration=self.configuration)

    def place(self, number: int) -> Path:
        """Folder of the run of a trial."""
        return self.folder / f"trial-{number:04d}"

    def experiment(self, values: dict[str, Value]) -> Experiment:
        """The experiment with values for what is varied, checked."""
        chosen = [override(key, value) for key, value in values.items()]
        return load(list(self.files), [*self.overrides, *chosen])


def plan(
    files: Sequence[str],
    overrides: Sequence[str],
    folder: Path,
    trials: int,
    *,
    monitor: str = "val/loss",
    mode: str | None = None,
    seed: int = 0,
    prune: bool = False,
) -> Sweep:
    """A sweep whose configuration has been checked with several values of each option.

    Raises:
        ConfigurationError: Nothing is varied, a value can't be trained, or which way the metric is
            better isn't known.
        ExperimentError: The configuration is wrong.
    """
    from trackside.config.text.layers import read  # noqa: PLC0415 - one import less for workers
    from trackside.config.text.problem import Findings  # noqa: PLC0415

    findings = Findings()
    written = read(files, overrides, findings).written
    space = space_of(written)
    findings.stop_if_any()
    configuration = hashlib.sha256(json.dumps(written, sort_keys=True, default=str).encode())
    better = direction(monitor) if mode is None else check_mode(mode)
    if better is None:
        raise ConfigurationError(
            f"whether more or less of {monitor} is better doesn't show in its name",
            remedy="say it: --mode min, or --mode max",
            option="mode",
        )
    whole = (tuple(files), tuple(overrides), folder, trials, monitor, better, tuple(space))
    sweep = Sweep(
        *whole,
        seed=seed,
        prune=prune,
        configuration=configuration.hexdigest(),
        without_effect=without_effect(written),
    )
    check(sweep)
    return sweep


def line(trials: Sequence[Trial], number: int, sweep: Sweep) -> str:
    """A line about a trial that has ended."""
    trial = next(one for one in trials if one.number == number)
    over = sum(one.state != "unfinished" for one in trials)
    value = "" if trial.value is None else f"  {sweep.monitor} {trial.value:.4g}"
    best = ranked(trials, sweep.mode)[:1]
    ahead = f"  (best {best[0].value:.4g}, trial {best[0].number})" if best else ""
    why = f"  {first_line(trial.why)}" if trial.state == "failed" else ""
    chosen = " ".join(f"{key}={short(value)}" for key, value in trial.parameters.items())
    return f"{over}/{sweep.trials}  trial {number} {trial.state}{value}  {chosen}{ahead}{why}"


def first_line(why: str) -> str:
    """How a trial ended, without the lines that explain an error."""
    return why.partition("\n")[0].rstrip(":")


def short(value: Value) -> str:
    """A value as tables show it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def ranked(trials: Sequence[Trial], mode: Mode) -> list[Trial]:
    """Complete trials, best first; equal ones by number."""
    sign = 1 if mode == "min" else -1
    complete = [one for one in trials if one.state == "complete" and one.value is not None]
    return sorted(complete, key=lambda one: (sign * (one.value or 0.0), one.number))
