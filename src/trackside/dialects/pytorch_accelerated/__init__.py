"""Callbacks written for pytorch-accelerated: hooks with `trainer`, run history, custom events."""

from __future__ import annotations

from trackside.dialects.pytorch_accelerated.adapter import TABLE as TABLE
from trackside.dialects.pytorch_accelerated.adapter import AcceleratedAdapter as AcceleratedAdapter
from trackside.dialects.pytorch_accelerated.adapter import CallbackHandler as CallbackHandler
from trackside.dialects.pytorch_accelerated.adapter import StopTrainingError as StopTrainingError
from trackside.dialects.pytorch_accelerated.adapter import Trainer as Trainer
from trackside.dialects.pytorch_accelerated.adapter import TrainerCallback as TrainerCallback
from trackside.dialects.pytorch_accelerated.built_ins import (
    EarlyStoppingCallback as EarlyStoppingCallback,
)
from trackside.dialects.pytorch_accelerated.built_ins import (
    LogMetricsCallback as LogMetricsCallback,
)
from trackside.dialects.pytorch_accelerated.built_ins import (
    PrintMetricsCallback as PrintMetricsCallback,
)
from trackside.dialects.pytorch_accelerated.built_ins import (
    PrintProgressCallback as PrintProgressCallback,
)
from trackside.dialects.pytorch_accelerated.built_ins import (
    ProgressBarCallback as ProgressBarCallback,
)
from trackside.dialects.pytorch_accelerated.built_ins import (
    SaveBestModelCallback as SaveBestModelCallback,
)
from trackside.dialects.pytorch_accelerated.built_ins import (
    TerminateOnNaNCallback as TerminateOnNaNCallback,
)
from trackside.dialects.pytorch_accelerated.methods import TrainerMethods as TrainerMethods
from trackside.dialects.pytorch_accelerated.trainer import RunHistory as RunHistory
from trackside.dialects.pytorch_accelerated.trainer import TrainerView as TrainerView

__all__ = [
    "TABLE",
    "AcceleratedAdapter",
    "CallbackHandler",
    "EarlyStoppingCallback",
    "LogMetricsCallback",
    "PrintMetricsCallback",
    "PrintProgressCallback",
    "ProgressBarCallback",
    "RunHistory",
    "SaveBestModelCallback",
    "StopTrainingError",
    "TerminateOnNaNCallback",
    "Trainer",
    "TrainerCallback",
    "TrainerMethods",
    "TrainerView",
]
