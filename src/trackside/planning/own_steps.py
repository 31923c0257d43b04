"""Models that bring their own steps, where the trainer would not call these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from trackside.errors import ConfigurationError
from trackside.lifecycle.adoption import trainer_class


def check_own_steps(trainer: Any, models: Mapping[str, nn.Module]) -> None:
    """Refuse a model whose steps nobody would call: it came too late to choose the trainer's class.

    A trainer that overrides `training_step` says itself what is computed.

    Args:
        trainer: The trainer.
        models: Its models, by name, as they were made for a run.

    Raises:
        ConfigurationError: There is one.
    """
    kind = type(trainer)
    if not kind.training_step.__module__.startswith("trackside."):
        return
    for model in models.values():
        inside: Any = getattr(model, "_orig_mod", model)  # of `torch.compile`
        if trainer_class(kind, inside) is kind:
            continue
        name = type(inside).__name__
        compiled = inside is not model
        way = f"Trainer({name}(...), settings=Settings(compile=True))" if compiled else ""
        raise ConfigurationError(
            f"the steps of the LightningModule `{name}` would never be called",
            expected="the module itself, when the trainer is made",
            received="one that went through `torch.compile`"
            if compiled
            else "one that is made as a run begins, by a function or by `configure_model`",
            remedy=f"`{way or f'Trainer({name}(...))'}`, with `torch.manual_seed(...)` before it "
            "for the same first weights; to train it with `loss=` and `optimizer=` as a plain "
            f"model: `nn.Sequential({name}(...))`",
            option="model",
        )
