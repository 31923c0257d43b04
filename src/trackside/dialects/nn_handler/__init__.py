"""Callbacks written for nn_handler: hooks with `logs`, and `self.handler`."""

from __future__ import annotations

from trackside.dialects.nn_handler.adapter import TABLE as TABLE
from trackside.dialects.nn_handler.adapter import Callback as Callback
from trackside.dialects.nn_handler.adapter import Handler as Handler
from trackside.dialects.nn_handler.adapter import NNHandlerAdapter as NNHandlerAdapter

__all__ = [
    "TABLE",
    "Callback",
    "Handler",
    "NNHandlerAdapter",
]
