"""Callbacks written for Dream Trainer: hooks from launch on, typed dependencies, `self.trainer`."""

from __future__ import annotations

from trackside.dialects.dream_trainer.adapter import TABLE as TABLE
from trackside.dialects.dream_trainer.adapter import Callback as Callback
from trackside.dialects.dream_trainer.adapter import CallbackCollection as CallbackCollection
from trackside.dialects.dream_trainer.adapter import DreamAdapter as DreamAdapter
from trackside.dialects.dream_trainer.adapter import RankZeroCallback as RankZeroCallback
from trackside.dialects.dream_trainer.adapter import dependencies as dependencies
from trackside.dialects.dream_trainer.built_ins import CheckpointCallback as CheckpointCallback
from trackside.dialects.dream_trainer.built_ins import CheckpointParameters as CheckpointParameters
from trackside.dialects.dream_trainer.built_ins import (
    FindGraphBreaksCallback as FindGraphBreaksCallback,
)
from trackside.dialects.dream_trainer.built_ins import LoggerCallback as LoggerCallback
from trackside.dialects.dream_trainer.built_ins import OptimizeFSDP as OptimizeFSDP
from trackside.dialects.dream_trainer.built_ins import ProfileCallback as ProfileCallback
from trackside.dialects.dream_trainer.built_ins import ProgressBar as ProgressBar
from trackside.dialects.dream_trainer.built_ins import TrainerSummary as TrainerSummary
from trackside.dialects.dream_trainer.methods import TrainerMethods as TrainerMethods
from trackside.dialects.dream_trainer.view import AbstractTrainer as AbstractTrainer
from trackside.dialects.dream_trainer.view import BaseTrainer as BaseTrainer
from trackside.dialects.dream_trainer.view import DreamTrainer as DreamTrainer
from trackside.dialects.dream_trainer.view import EvalMetricMixin as EvalMetricMixin
from trackside.dialects.dream_trainer.view import LoggerMixin as LoggerMixin
from trackside.dialects.dream_trainer.view import QuantizeMixin as QuantizeMixin
from trackside.dialects.dream_trainer.view import WandBLoggerMixin as WandBLoggerMixin

__all__ = [
    "TABLE",
    "AbstractTrainer",
    "BaseTrainer",
    "Callback",
    "CallbackCollection",
    "CheckpointCallback",
    "CheckpointParameters",
    "DreamAdapter",
    "DreamTrainer",
    "EvalMetricMixin",
    "FindGraphBreaksCallback",
    "LoggerCallback",
    "LoggerMixin",
    "OptimizeFSDP",
    "ProfileCallback",
    "ProgressBar",
    "QuantizeMixin",
    "RankZeroCallback",
    "TrainerMethods",
    "TrainerSummary",
    "WandBLoggerMixin",
    "dependencies",
]
