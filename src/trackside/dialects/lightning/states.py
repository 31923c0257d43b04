"""`trainer.state`: the work in hand, under their words."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from trackside.run import Evaluation, Run

FUNCTIONS = {"fit": "fit", "predict": "predict"}
"""Their word for the kinds of runs that have one name."""


@dataclass(frozen=True)
class TrainerState:
    """Names of the work in hand: `fn` is the call, `stage` the part of it."""

    fn: Any
    stage: Any
    status: Any

    @property
    def finished(self) -> bool:
        """Whether the run is over."""
        return bool(self.status == "finished")

    @property
    def stopped(self) -> bool:
        """Whether the run is over, however it ended."""
        return self.status in ("finished", "interrupted")


def call_of(run: Run) -> str:
    """`fit`, `validate`, `test` or `predict`.

    An evaluation is a validation where its data is called `val` or `validation`, else a test.
    """
    if run.mode != "evaluate":
        return FUNCTIONS[run.mode]
    return next(map(stage_of_data, getattr(run, "data", {})), "test")


def stage_of_data(name: str) -> str:
    """`validate` for data whose name begins with `val`, else `test`."""
    return "validate" if name.startswith("val") else "test"


def stage_of(run: Run, evaluation: Evaluation | None) -> str:
    """`train`, `validate`, `sanity_check`, `test` or `predict`."""
    if evaluation is not None and run.mode == "fit":
        return "sanity_check" if evaluation.sanity else "validate"
    call = call_of(run)
    return "train" if call == "fit" else call


def state_of(run: Run) -> TrainerState:
    """The state, in the words of the enumerations of their package where that is loaded."""
    if run.outcome is None:
        status = "running"
    else:
        status = "interrupted" if run.outcome.error is not None else "finished"
    words = (call_of(run), stage_of(run, run.evaluation), status)
    theirs = _enumerations()
    if theirs is None:
        return TrainerState(*words)
    kinds = (theirs.TrainerFn, theirs.RunningStage, theirs.TrainerStatus)
    return TrainerState(*(kind(word) for kind, word in zip(kinds, words, strict=True)))


def _enumerations() -> Any:
    names = ("lightning.pytorch.trainer.states", "pytorch_lightning.trainer.states")
    return next((sys.modules[name] for name in names if name in sys.modules), None)
