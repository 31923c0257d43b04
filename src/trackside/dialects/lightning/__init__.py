"""Callbacks written for Lightning: `(trainer, pl_module, ...)`."""

from __future__ import annotations

from trackside.dialects.lightning.adapter import TABLE as TABLE
from trackside.dialects.lightning.adapter import LightningAdapter as LightningAdapter
from trackside.dialects.lightning.hooks import Callback as Callback
from trackside.dialects.lightning.module import ModuleView as ModuleView
from trackside.dialects.lightning.steps import ModuleSteps as ModuleSteps
from trackside.dialects.lightning.trainer import TrainerView as TrainerView

__all__ = ["TABLE", "Callback", "LightningAdapter", "ModuleSteps", "ModuleView", "TrainerView"]
