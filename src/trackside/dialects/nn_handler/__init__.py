"""Callbacks written for nn_handler: hooks with `logs`, and `self.handler`."""

from __future__ import annotations

from trackside.dialects.nn_handler.adapter import TABLE as TABLE
from trackside.dialects.nn_handler.adapter import Callback as Callback
from trackside.dialects.nn_handler.adapter import Handler as Handler
from trackside.dialects.nn_handler.adapter import NNHandlerAdapter as NNHandlerAdapter
from trackside.dialects.nn_handler.built_ins import CudaGarbageCollector as CudaGarbageCollector
from trackside.dialects.nn_handler.built_ins import EarlyStopping as EarlyStopping
from trackside.dialects.nn_handler.built_ins import EpochTimer as EpochTimer
from trackside.dialects.nn_handler.built_ins import LearningRateMonitor as LearningRateMonitor
from trackside.dialects.nn_handler.built_ins import ModelCheckpoint as ModelCheckpoint
from trackside.dialects.nn_handler.built_ins import ParameterNormMonitor as ParameterNormMonitor
from trackside.dialects.nn_handler.built_ins import ProgressMonitor as ProgressMonitor
from trackside.dialects.nn_handler.built_ins import SimpleGarbageCollector as SimpleGarbageCollector
from trackside.dialects.nn_handler.built_ins import TensorBoardLogger as TensorBoardLogger
from trackside.dialects.nn_handler.further import (
    BasePredictionVisualizer as BasePredictionVisualizer,
)
from trackside.dialects.nn_handler.further import (
    ImagePredictionVisualizer as ImagePredictionVisualizer,
)
from trackside.dialects.nn_handler.further import ParamScheduler as ParamScheduler
from trackside.dialects.nn_handler.further import WandbLogger as WandbLogger

__all__ = [
    "TABLE",
    "BasePredictionVisualizer",
    "Callback",
    "CudaGarbageCollector",
    "EarlyStopping",
    "EpochTimer",
    "Handler",
    "ImagePredictionVisualizer",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "NNHandlerAdapter",
    "ParamScheduler",
    "ParameterNormMonitor",
    "ProgressMonitor",
    "SimpleGarbageCollector",
    "TensorBoardLogger",
    "WandbLogger",
]
