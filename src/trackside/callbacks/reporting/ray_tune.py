"""`RayTune`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from trackside.checkpoint.manifest import parse_folder_name
from trackside.errors import ConfigurationError
from trackside.history import Record
from trackside.imports.extras import optional_package
from trackside.lifecycle.hooks import RankZeroCallback
from trackside.outcome import Outcome, Status
from trackside.remote.mirror import Mirror
from trackside.run import Rollback, Run

STOPPED = "stopped by Ray Tune"


@final
class RayTune(RankZeroCallback[Run]):
    """Reports metrics, and checkpoints where asked, to the trial of Ray Tune that trains.

    For a function that `ray.tune.Tuner` runs. Each time that the first metric is recorded, Tune
    gets it, with the latest values of the others and with `epoch` and `step`, and a scheduler
    (ASHA, PBT, ...) decides. Where it ends the trial, the run is stopped; Ray ends its process soon
    after, which may be before it is closed.

    Needs `pip install 'trackside[tune]'`.

    Args:
        metrics: Names of metrics, or one; the first says when.
        checkpoint: Whether a checkpoint is saved for each report, which waits for it, and goes to
            Ray's storage along with it. PBT, and trials that are started again, go on from there,
            by `fit(..., resume=RayTune.last_checkpoint())`.

    Raises:
        ConfigurationError: The package isn't installed, or no metric is named; or, when training
            starts, no trial of Ray Tune is under way in this process, or nothing saves checkpoints.

    Example:
        >>> RayTune(["val/loss", "val/accuracy"], checkpoint=True)
        RayTune(['val/loss', 'val/accuracy'], checkpoint=True)
    """

    effect = "steers"
    runs_in = ("fit",)
    runs_before = ("checkpoint",)  # closed after it, which tells of the last checkpoint then

    def __init__(
        self, metrics: str | Sequence[str] = "val/loss", *, checkpoint: bool = False
    ) -> None:
        self._tune = _tune("RayTune")
        self.metrics = (metrics,) if isinstance(metrics, str) else tuple(metrics)
        if not self.metrics:
            raise ConfigurationError(
                "there is nothing to report", expected="a metric at least", option="metrics"
            )
        self.monitors = self.metrics
        self.with_checkpoint = checkpoint
        self._waiting: list[dict[str, float]] = []
        """Values that are reported once a checkpoint of their step is written, oldest first."""
        self._is_over = False
        """Whether Ray Tune has ended the trial: it takes no more reports."""

    def __repr__(self) -> str:
        return f"RayTune({list(self.metrics)!r}, checkpoint={self.with_checkpoint})"

    @staticmethod
    def last_checkpoint() -> Path | None:
        """The checkpoint from which Ray Tune wants the trial to go on; None at its beginning."""
        found = _tune("RayTune").get_checkpoint()
        return None if found is None else Path(found.to_directory())

    def rehearse_in(self, folder: Path) -> bool:
        """Take no part in a rehearsal: its values are of no trial."""
        return False

    def on_attach(self, run: Run) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's own, where it answers None
            trial = self._tune.get_context().get_trial_id()
        if trial is None:
            raise ConfigurationError(
                "`RayTune` has no trial of Ray Tune to report to",
                expected="a fit inside of a function that `ray.tune.Tuner` runs",
                received="a fit outside of one",
                remedy="start it by `ray.tune.Tuner(function, ...).fit()`, or leave it out",
            )
        self._waiting.clear()
        self._is_over = False

    def on_fit_start(self, run: Run) -> None:
        if self.with_checkpoint and run.saver is None:
            raise ConfigurationError(
                "nothing saves the checkpoints that Ray Tune is to get",
                remedy="add `Checkpoint()` to the callbacks, or take `checkpoint=False`",
                option="checkpoint",
            )

    def on_log(self, run: Run, record: Record) -> None:
        if self.metrics[0] not in record.values or self._is_over:
            return
        values: dict[str, float] = {"epoch": record.epoch, "step": record.step}
        for name in self.metrics:
            value = record.values.get(name, run.history.latest(name))
            if value is not None:
                values[name] = value
        if self.with_checkpoint:
            self._waiting.append(values)
            run.save("a report to Ray Tune")
        else:
            self._report(run, values)

    def on_checkpoint_saved(self, run: Run, checkpoint: Path) -> None:
        place = parse_folder_name(checkpoint.name)
        step = run.progress.steps_completed if place is None else place[0]
        ready = [values for values in self._waiting if values["step"] <= step]
        if not ready:
            return
        mirror = Mirror(run.directory, checkpoint.parent)
        held = mirror.hold(checkpoint, run.id)
        if held is None:  # deleted already, for a later one: that takes the values along
            return
        del self._waiting[: len(ready)]
        try:
            for values in ready[:-1]:  # what they waited for couldn't be written
                self._report(run, values)
            self._report(run, ready[-1], held.folder)
        finally:
            mirror.let_go(held)

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        self._waiting = [one for one in self._waiting if one["step"] <= rollback.to_step]

    def on_close(self, run: Run, outcome: Outcome) -> None:
        if outcome.status is not Status.FAILED:
            for values in self._waiting:
                self._report(run, values)

    def _report(self, run: Run, values: dict[str, float], checkpoint: Path | None = None) -> None:
        if self._is_over:
            return
        given: dict[str, Any] = {}
        if checkpoint is not None:
            given["checkpoint"] = self._tune.Checkpoint.from_directory(str(checkpoint))
        try:
            self._tune.report(values, **given)
        except SystemExit:  # the way in which Ray ends the function of a trial that is over
            self._is_over = True
            run.stop(f"{STOPPED} at step {values['step']}")


def _tune(needed_by: str) -> Any:
    return optional_package("ray.tune", needed_by=needed_by, extra="tune")
