"""`SaveWeights`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from trackside.callbacks.saving.file_names import filled_in, metrics_in
from trackside.callbacks.saving.weight_files import (
    final_weights,
    plain_names,
    whole_state,
    write_weights,
)
from trackside.errors import ConfigurationError, NonFiniteError, ScheduleError, did_you_mean
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.lifecycle.roles import HasWeights
from trackside.machine.paths import local_path
from trackside.run import Rollback, Run
from trackside.schedule import Schedule
from trackside.step.began_infinite import began_infinite
from trackside.step.precision import non_finite
from trackside.tracking.schedule_ledger import noted

logger = logging.getLogger("trackside")


@final
class SaveWeights(PeriodicCallback):
    """Writes the weights alone, as a plain safetensors file that any program can load.

    `weights.safetensors` in the run's folder has the names of `model.state_dict()` as it was
    written by hand (no `_orig_mod.`, no `module.` of a wrapper), whole tensors of sharded models,
    and tied weights once, as `safetensors.torch.load_model` expects them. With several models there
    is a file for each: `weights-generator.safetensors`. A file is replaced whole or not at all. To
    go on with a run, use `Checkpoint`: it holds everything else as well.

    Args:
        every: When to write, beside the end; None writes at the end only. On several ranks, not in
            seconds.
        at_end: Whether to write when training ends: completed or stopped, not failed.
        file: Name of the file, below the run's folder; ends in `.safetensors`. It may have fields:
            `step-{step}-{val/loss:.3f}.safetensors` has the counters `step`, `epoch`, `samples` and
            the latest value of any metric. Each name is then a separate file, and all stay.
        average: Name of a callback whose averages are written in place of the weights, such as
            `ema`: it has a method `weights(model=name)`. None writes the weights themselves; at the
            end, those that the model has when `fit` returns, such as the mean of `SWA`.

    Raises:
        ConfigurationError: It would never write; `file` has another ending, or a field that can't
            be filled in; or, when training starts, there are no averages of that name, or nothing
            logs a metric in `file`.
        NonFiniteError: The weights hold a NaN or an infinite value; the former file stays.

    Example:
        >>> SaveWeights(every="1 epoch", average="ema")
    """

    effect = "observes"
    writes = ("file",)
    runs_after = ("ema", "swa", "early_stopping", "best_checkpoint")

    def __init__(
        self,
        every: Schedule | str | None = None,
        *,
        at_end: bool = True,
        file: str | Path = "weights.safetensors",
        average: str | None = None,
    ) -> None:
        super().__init__(every)
        if every is None and not at_end:
            raise ConfigurationError(
                "`SaveWeights` would never write",
                expected="a schedule, or at_end=True",
                received="every=None, at_end=False",
                option="at_end",
            )
        file = str(local_path(file, "file"))
        if not file.endswith(".safetensors") or Path(file).is_absolute() or ".." in file:
            raise ConfigurationError(
                f"file={file!r} isn't a name for the weights",
                expected="a name below the run's folder that ends in .safetensors",
                option="file",
            )
        self.monitors = metrics_in(file)
        self.at_end = at_end
        self.file = file
        self.average = average
        self._written_at: int | None = None
        self._is_over = False
        self._began_infinite: dict[str, frozenset[str]] = {}

    def paths(self, run: Run) -> dict[str, Path]:
        """The file of each model, by its name, as it would be written now."""
        path = run.directory / filled_in(self.file, run)
        if len(run.models) == 1:
            return dict.fromkeys(run.models, path)
        return {name: path.with_name(f"{path.stem}-{name}{path.suffix}") for name in run.models}

    def on_fit_start(self, run: Run) -> None:
        super().on_fit_start(run)
        self._written_at, self._is_over = None, False
        self._began_infinite = began_infinite(run.models)
        units = () if self.every is None else self.every.units
        if run.world.size > 1 and "seconds" in units:
            raise ScheduleError(
                "`SaveWeights` can't go by the clock on several ranks: each has its own",
                expected="a schedule in steps, batches, epochs or samples",
                received=str(self.every),
                option="every",
            )
        if self.average is None:
            return
        if not isinstance(run.callbacks.get(self.average), HasWeights):
            known = [n for n, one in run.callbacks.items() if isinstance(one, HasWeights)]
            raise ConfigurationError(
                f"`SaveWeights` can't write averages: no callback {self.average!r} has any",
                expected="the name of a callback with a method `weights`, such as `EMA`",
                remedy=did_you_mean(self.average, known),
                option="average",
            )

    def on_due(self, run: Run) -> None:
        self._write(run)

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        super().on_roll_back(run, rollback)
        self._written_at = None

    def on_fit_end(self, run: Run) -> None:
        self._is_over = True
        # Not asked whether the file is new: what runs at the end may have changed the weights.
        if self.at_end:
            self._write(run)
        elif self._written_at != run.progress.steps_completed:
            super().on_fit_end(run)

    def _write(self, run: Run) -> None:
        for name, path in self.paths(run).items():
            began = plain_names(run.models[name], self._began_infinite.get(name, frozenset()))
            state = whole_state(run.models[name], run.world, self._averages(run, name))

            def write(state: Any = state, path: Path = path, began: Any = began) -> None:
                bad = [name for name in non_finite(state.items()) if name not in began]
                if bad:
                    raise NonFiniteError(
                        f"the weights after step {run.progress.steps_completed} are not finite and "
                        f"were not written to {path}",
                        received=", ".join(bad[:5]),
                        remedy="`TerminateOnNonFinite` stops before such an update",
                    )
                write_weights(path, state, run.id)

            with noted(run, path.name):
                run.world.on_rank_zero(write)
            logger.info("wrote the weights to %s", path)
        self._written_at = run.progress.steps_completed

    def _averages(self, run: Run, name: str) -> Mapping[str, Any] | None:
        if self.average is None:
            return final_weights(run, name) if self._is_over else None
        averages: Mapping[str, Any] = run.callbacks[self.average].weights(model=name)
        return averages
