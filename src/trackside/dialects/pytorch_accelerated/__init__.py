"""Callbacks written for pytorch-accelerated: hooks with `trainer`, run history, custom events."""

from __future__ import annotations

from trackside.dialects.pytorch_accelerated.adapter import TABLE as TABLE
from trackside.dialects.pytorch_accelerated.adapter import AcceleratedAdapter as AcceleratedAdapter
from trackside.dialects.pytorch_accelerated.adapter import CallbackHandler as CallbackHandler
from trackside.dialects.pytorch_accelerated.adapter import StopTrainingError as StopTrainingError
from trackside.dialects.pytorch_accelerated.adapter import Trainer as Trainer
from trackside.dialects.pytorch_accelerated.adapter import TrainerCallback as TrainerCallback
from trackside.dialects.pytorch_accelerated.methods import TrainerMethods as TrainerMethods
from trackside.dialects.pytorch_accelerated.trainer import RunHistory as RunHistory
from trackside.dialects.pytorch_accelerated.trainer import TrainerView as TrainerView

__all__ = [
    "TABLE",
    "AcceleratedAdapter",
    "CallbackHandler",
    "RunHistory",
    "StopTrainingError",
    "Trainer",
    "TrainerCallback",
    "TrainerMethods",
    "TrainerView",
]
