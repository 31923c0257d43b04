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
from trackside.dialects.noether.built_ins import DatasetStatsCallback as DatasetStatsCallback
from trackside.dialects.noether.built_ins import EtaCallback as EtaCallback
from trackside.dialects.noether.built_ins import LrCallback as LrCallback
from trackside.dialects.noether.built_ins import OnlineLossCallback as OnlineLossCallback
from trackside.dialects.noether.built_ins import (
    OnlineLossCallbackConfig as OnlineLossCallbackConfig,
)
from trackside.dialects.noether.built_ins import ParamCountCallback as ParamCountCallback
from trackside.dialects.noether.built_ins import PeakMemoryCallback as PeakMemoryCallback
from trackside.dialects.noether.built_ins import ProgressCallback as ProgressCallback
from trackside.dialects.noether.built_ins import (
    TrackOutputsCallback as TrackAdditionalOutputsCallback,
)
from trackside.dialects.noether.built_ins import TrackOutputsCallback as TrackOutputsCallback
from trackside.dialects.noether.built_ins import (
    TrackOutputsCallbackConfig as TrackOutputsCallbackConfig,
)
from trackside.dialects.noether.built_ins import TrainTimeCallback as TrainTimeCallback
from trackside.dialects.noether.counters import TrainingIteration as TrainingIteration
from trackside.dialects.noether.counters import UpdateCounter as UpdateCounter
from trackside.dialects.noether.entries import build as build
from trackside.dialects.noether.entries import callback as callback
from trackside.dialects.noether.judging import BestCheckpointCallback as BestCheckpointCallback
from trackside.dialects.noether.judging import (
    BestCheckpointCallbackConfig as BestCheckpointCallbackConfig,
)
from trackside.dialects.noether.judging import BestMetricCallback as BestMetricCallback
from trackside.dialects.noether.judging import BestMetricCallbackConfig as BestMetricCallbackConfig
from trackside.dialects.noether.judging import CheckpointCallback as CheckpointCallback
from trackside.dialects.noether.judging import CheckpointCallbackConfig as CheckpointCallbackConfig
from trackside.dialects.noether.judging import EmaCallback as EMACallback
from trackside.dialects.noether.judging import EmaCallback as EmaCallback
from trackside.dialects.noether.judging import EmaCallbackConfig as EmaCallbackConfig
from trackside.dialects.noether.judging import FixedEarlyStopper as FixedEarlyStopper
from trackside.dialects.noether.judging import FixedEarlyStopper as FixedUpdateEarlyStopping
from trackside.dialects.noether.judging import FixedEarlyStopperConfig as FixedEarlyStopperConfig
from trackside.dialects.noether.judging import MetricEarlyStopper as MetricEarlyStopper
from trackside.dialects.noether.judging import MetricEarlyStopper as MetricEarlyStopping
from trackside.dialects.noether.judging import MetricEarlyStopperConfig as MetricEarlyStopperConfig
from trackside.dialects.noether.passes import SamplerIntervalConfig as SamplerIntervalConfig

__all__ = [
    "FREQUENCIES",
    "TABLE",
    "BestCheckpointCallback",
    "BestCheckpointCallbackConfig",
    "BestMetricCallback",
    "BestMetricCallbackConfig",
    "CallBackBaseConfig",
    "CallbackBase",
    "CheckpointCallback",
    "CheckpointCallbackConfig",
    "DatasetStatsCallback",
    "EMACallback",
    "EarlyStopIteration",
    "EarlyStopperBase",
    "EmaCallback",
    "EmaCallbackConfig",
    "EtaCallback",
    "FixedEarlyStopper",
    "FixedEarlyStopperConfig",
    "FixedUpdateEarlyStopping",
    "LrCallback",
    "MetricEarlyStopper",
    "MetricEarlyStopperConfig",
    "MetricEarlyStopping",
    "NoetherAdapter",
    "OnlineLossCallback",
    "OnlineLossCallbackConfig",
    "ParamCountCallback",
    "PeakMemoryCallback",
    "PeriodicCallback",
    "PeriodicDataIteratorCallback",
    "PeriodicDataIteratorCallbackConfig",
    "ProgressCallback",
    "SamplerIntervalConfig",
    "TrackAdditionalOutputsCallback",
    "TrackOutputsCallback",
    "TrackOutputsCallbackConfig",
    "TrainTimeCallback",
    "TrainingIteration",
    "UpdateCounter",
    "build",
    "callback",
]
