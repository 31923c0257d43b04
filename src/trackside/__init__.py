"""Trackside trains PyTorch models; everything around the loop is a callback."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trackside.errors import StopTraining as StopTraining
    from trackside.errors import TracksideError as TracksideError
    from trackside.history import History as History
    from trackside.history import Record as Record
    from trackside.lifecycle.collection import CallbackCollection as CallbackCollection
    from trackside.lifecycle.hooks import Callback as Callback
    from trackside.lifecycle.hooks import RankZeroCallback as RankZeroCallback
    from trackside.lifecycle.hooks import event as event
    from trackside.lifecycle.periodic import PeriodicCallback as PeriodicCallback
    from trackside.lifecycle.periodic import on as on
    from trackside.outcome import Outcome as Outcome
    from trackside.outcome import Status as Status
    from trackside.progress import Progress as Progress
    from trackside.run import Evaluation as Evaluation
    from trackside.run import Run as Run
    from trackside.schedule import Every as Every
    from trackside.step.evaluation import EvaluationCallback as EvaluationCallback
    from trackside.step.metrics import accuracy as accuracy
    from trackside.step.optimization import Clip as Clip
    from trackside.step.optimization import Scheduler as Scheduler
    from trackside.step.output import Output as Output
    from trackside.trainer.settings import Result as Result
    from trackside.trainer.settings import Settings as Settings
    from trackside.trainer.trainer import Trainer as Trainer

__version__ = "0.1.0"

_HOMES = {
    "lifecycle.collection": ("CallbackCollection",),
    "step.evaluation": ("EvaluationCallback",),
    "errors": ("StopTraining", "TracksideError"),
    "history": ("History", "Record"),
    "lifecycle.hooks": ("Callback", "RankZeroCallback", "event"),
    "step.metrics": ("accuracy",),
    "step.optimization": ("Clip", "Scheduler"),
    "outcome": ("Outcome", "Status"),
    "lifecycle.periodic": ("PeriodicCallback", "on"),
    "progress": ("Progress",),
    "run": ("Evaluation", "Run"),
    "schedule": ("Every",),
    "step.output": ("Output",),
    "trainer.settings": ("Result", "Settings"),
    "trainer.trainer": ("Trainer",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    # Loaded when asked for: the command line answers --help without importing torch.
    if name not in _HOME_OF:
        raise AttributeError(f"module 'trackside' has no attribute {name!r}")
    value = getattr(import_module(f"trackside.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
