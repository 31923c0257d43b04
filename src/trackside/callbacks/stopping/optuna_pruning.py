"""`OptunaPruning`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol, final

from typing_extensions import TypedDict  # pydantic checks it, before Python 3.12 this one only

from trackside.errors import ConfigurationError
from trackside.history import Record
from trackside.imports.extras import optional_package
from trackside.lifecycle.hooks import RankZeroCallback
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.saved import checked

PRUNED = "pruned by Optuna"


class Trial(Protocol):
    """A trial, as far as it is used here."""

    @property
    def number(self) -> int: ...

    @property
    def study(self) -> Any: ...

    def report(self, value: float, step: int) -> Any: ...

    def should_prune(self) -> bool: ...


class _Pruned(TypedDict):
    """The trial that was pruned, and the words for it."""

    trial: int
    why: str


@final
class OptunaPruning(RankZeroCallback[Run]):
    """Reports a metric to a trial of Optuna, and stops the run where its pruner says so.

    Rank 0 reports, and the stop is agreed on: all ranks end at the same step, the run is saved and
    closed as any that was stopped. After `fit`, `OptunaPruning.raise_if_pruned(result.outcome)`
    raises `TrialPruned` in the objective, on each rank. Values that a resumed trial has reported
    before aren't reported again.

    Needs `pip install 'trackside[search]'`.

    Args:
        trial: Of Optuna; None on ranks other than 0.
        monitor: Name of the metric, such as `val/loss`.
        axis: What Optuna gets as the step of a value: epochs completed, so that trials of other
            batch sizes can be compared, or steps completed. The first value of a step counts.

    Raises:
        ConfigurationError: The package isn't installed; or, when training starts, rank 0 has no
            trial.

    Example:
        >>> pruning = lambda trial: OptunaPruning(trial, "val/accuracy")
    """

    effect = "steers"
    runs_in = ("fit",)

    def __init__(
        self,
        trial: Trial | None,
        monitor: str = "val/loss",
        *,
        axis: Literal["epoch", "step"] = "epoch",
    ) -> None:
        optional_package("optuna", needed_by="OptunaPruning", extra="search")
        self.trial = trial
        self.monitors = (monitor,)
        self.monitor = monitor
        self.axis = axis
        self._reported: set[int] = set()
        self._pruned: _Pruned | None = None

    def __repr__(self) -> str:
        return f"OptunaPruning(monitor={self.monitor!r}, axis={self.axis!r})"

    def rehearse_in(self, folder: Path) -> bool:
        """Take no part in a rehearsal: its values are of no trial."""
        return False

    def on_fit_start(self, run: Run) -> None:
        if self.trial is None:
            raise ConfigurationError(
                "`OptunaPruning` has no trial to report to",
                expected="the trial of the objective, on rank 0",
                received="None",
                option="trial",
            )
        known = self.trial.study.get_trials(deepcopy=False)[self.trial.number]
        self._reported = set(known.intermediate_values)
        if self._pruned is not None and self._pruned["trial"] == self.trial.number:
            run.stop(self._pruned["why"])  # killed before the study knew

    def on_log(self, run: Run, record: Record) -> None:
        if self.monitor in record.values:
            at = record.epoch if self.axis == "epoch" else record.step
            self._report(run, record.values[self.monitor], at)

    def _report(self, run: Run, value: float, at: int) -> None:
        newest = max(self._reported, default=-1)
        assert self.trial is not None, "refused before"
        if at not in self._reported:
            self._reported.add(at)
            self.trial.report(value, at)
        elif at < newest:
            return  # of a life before this one, which had come further
        if not run.stopping and self.trial.should_prune():
            why = f"{PRUNED}: {self.monitor} {value:.4g} at {self.axis} {at}"
            self._pruned = {"trial": self.trial.number, "why": why}
            run.stop(why)

    def state_dict(self) -> dict[str, Any]:
        return {"pruned": self._pruned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._pruned = checked(state, pruned=_Pruned | None)["pruned"]

    @staticmethod
    def pruned(outcome: Outcome) -> bool:
        """Whether a run was ended by this callback; all ranks say the same."""
        return outcome.reason.startswith(PRUNED)

    @classmethod
    def raise_if_pruned(cls, outcome: Outcome) -> None:
        """Raise `optuna.TrialPruned` where this callback ended a run.

        Raises:
            TrialPruned: It did.
        """
        if cls.pruned(outcome):
            optuna = optional_package("optuna", needed_by="OptunaPruning", extra="search")
            raise optuna.TrialPruned(outcome.reason)
