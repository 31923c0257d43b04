"""Callbacks written for Noether: periodic ones, and ones that pass over a data set."""

from __future__ import annotations

from trackside.dialects.noether.adapter import TABLE as TABLE
from trackside.dialects.noether.adapter import NoetherAdapter as NoetherAdapter
from trackside.dialects.noether.bases import FREQUENCIES as FREQUENCIES
from trackside.dialects.noether.bases import CallbackBase as CallbackBase
from trackside.dialects.noether.bases import CallBackBaseConfig as CallBackBaseConfig
from trackside.dialects.noether.bases import EarlyStopIteration as EarlyStopIteration
from trackside.dialects.noether.bases import EarlyStopperBase as EarlyStopperBase
from trackside.dialects.noether.bases import PeriodicCallback as PeriodicCallback
from trackside.dialects.noether.bases import (
    PeriodicDataIteratorCallback as PeriodicDataIteratorCallback,
)
from trackside.dialects.noether.bases import (
    PeriodicDataIteratorCallbackConfig as PeriodicDataIteratorCallbackConfig,
)
from trackside.dialects.noether.counters import TrainingIteration as TrainingIteration
from trackside.dialects.noether.counters import UpdateCounter as UpdateCounter
from trackside.dialects.noether.entries import build as build
from trackside.dialects.noether.entries import callback as callback
from trackside.dialects.noether.passes import SamplerIntervalConfig as SamplerIntervalConfig

__all__ = [
    "FREQUENCIES",
    "TABLE",
    "CallBackBaseConfig",
    "CallbackBase",
    "EarlyStopIteration",
    "EarlyStopperBase",
    "NoetherAdapter",
    "PeriodicCallback",
    "PeriodicDataIteratorCallback",
    "PeriodicDataIteratorCallbackConfig",
    "SamplerIntervalConfig",
    "TrainingIteration",
    "UpdateCounter",
    "build",
    "callback",
]
