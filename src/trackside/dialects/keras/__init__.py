"""Callbacks written for Keras: hooks with `logs`, `set_params`, `set_model`."""

from __future__ import annotations

from trackside.dialects.keras.adapter import TABLE as TABLE
from trackside.dialects.keras.adapter import Callback as Callback
from trackside.dialects.keras.adapter import KerasAdapter as KerasAdapter
from trackside.dialects.keras.adapter import ModelView as ModelView
from trackside.dialects.keras.adapter import OptimizerView as OptimizerView

__all__ = [
    "TABLE",
    "Callback",
    "KerasAdapter",
    "ModelView",
    "OptimizerView",
]
