"""Trackside trains PyTorch models; everything around the loop is a callback."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trackside.collection import CallbackCollection as CallbackCollection
    from trackside.data_pass import EvaluationCallback as EvaluationCallback
    from trackside.errors import StopTraining as StopTraining
    from trackside.errors import TracksideError as TracksideError
    from trackside.history import History as History
    from trackside.history import Record as Record
    from trackside.lifecycle import Callback as Callback
    from trackside.lifecycle import RankZeroCallback as RankZeroCallback
    from trackside.lifecycle import event as event
    from trackside.metrics import accuracy as accuracy
    from trackside.optimization import Clip as Clip
    from trackside.optimization import Scheduler as Scheduler
    from trackside.outcome import Outcome as Outcome
    from trackside.outcome import Status as Status
    from trackside.periodic import PeriodicCallback as PeriodicCallback
    from trackside.periodic import on as on
    from trackside.progress import Progress as Progress
    from trackside.run import Evaluation as Evaluation
    from trackside.run import Run as Run
    from trackside.schedule import Every as Every
    from trackside.settings import Result as Result
    from trackside.settings import Settings as Settings
    from trackside.steps import Output as Output
    from trackside.trainer import Trainer as Trainer

__version__ = "0.1.0"

_HOMES = {
    "collection": ("CallbackCollection",),
    "data_pass": ("EvaluationCallback",),
    "errors": ("StopTraining", "TracksideError"),
    "history": ("History", "Record"),
    "lifecycle": ("Callback", "RankZeroCallback", "event"),
    "metrics": ("accuracy",),
    "optimization": ("Clip", "Scheduler"),
    "outcome": ("Outcome", "Status"),
    "periodic": ("PeriodicCallback", "on"),
    "progress": ("Progress",),
    "run": ("Evaluation", "Run"),
    "schedule": ("Every",),
    "steps": ("Output",),
    "settings": ("Result", "Settings"),
    "trainer": ("Trainer",),
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
