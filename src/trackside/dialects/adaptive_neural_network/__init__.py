"""Callbacks written for the adaptive neural network's trainer: hooks with `trainer` and `logs`."""

from __future__ import annotations

from trackside.dialects.adaptive_neural_network.adapter import TABLE as TABLE
from trackside.dialects.adaptive_neural_network.adapter import Callback as Callback
from trackside.dialects.adaptive_neural_network.adapter import CallbackList as CallbackList
from trackside.dialects.adaptive_neural_network.adapter import Trainer as Trainer
from trackside.dialects.adaptive_neural_network.adapter import TrainerAdapter as TrainerAdapter
from trackside.dialects.adaptive_neural_network.adapter import epochs_in as epochs_in
from trackside.dialects.adaptive_neural_network.built_ins import LoggingCallback as LoggingCallback
from trackside.dialects.adaptive_neural_network.built_ins import (
    ProfilingCallback as ProfilingCallback,
)

__all__ = [
    "TABLE",
    "Callback",
    "CallbackList",
    "LoggingCallback",
    "ProfilingCallback",
    "Trainer",
    "TrainerAdapter",
    "epochs_in",
]
