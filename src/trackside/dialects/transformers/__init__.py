"""Callbacks written for the Hugging Face Trainer: `(args, state, control, **kwargs)`."""

from __future__ import annotations

from trackside.dialects.transformers.adapter import TABLE as TABLE
from trackside.dialects.transformers.adapter import HuggingFaceAdapter as HuggingFaceAdapter
from trackside.dialects.transformers.adapter import TrainerCallback as TrainerCallback
from trackside.dialects.transformers.adapter import adapt as adapt
from trackside.dialects.transformers.run import TrainerControl as TrainerControl
from trackside.dialects.transformers.run import TrainerState as TrainerState
from trackside.dialects.transformers.run import TrainingArguments as TrainingArguments

__all__ = [
    "TABLE",
    "HuggingFaceAdapter",
    "TrainerCallback",
    "TrainerControl",
    "TrainerState",
    "TrainingArguments",
    "adapt",
]
