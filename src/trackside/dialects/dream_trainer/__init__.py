"""Callbacks written for Dream Trainer: hooks from launch on, typed dependencies, `self.trainer`."""

from __future__ import annotations

from trackside.dialects.dream_trainer.adapter import TABLE as TABLE
from trackside.dialects.dream_trainer.adapter import Callback as Callback
from trackside.dialects.dream_trainer.adapter import CallbackCollection as CallbackCollection
from trackside.dialects.dream_trainer.adapter import DreamAdapter as DreamAdapter
from trackside.dialects.dream_trainer.adapter import RankZeroCallback as RankZeroCallback
from trackside.dialects.dream_trainer.adapter import dependencies as dependencies
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
    "DreamAdapter",
    "DreamTrainer",
    "EvalMetricMixin",
    "LoggerMixin",
    "QuantizeMixin",
    "RankZeroCallback",
    "WandBLoggerMixin",
    "dependencies",
]
