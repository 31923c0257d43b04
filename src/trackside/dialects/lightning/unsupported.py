"""Methods of a `LightningModule` that nothing here would call: refused, with the native way."""

from __future__ import annotations

from typing import Any

from trackside.errors import ConfigurationError

NATIVE: dict[str, str] = {
    "configure_sharded_model": "`Settings(strategy=FSDP())`",
    "configure_gradient_clipping": "`Trainer(clip=...)`, or the callback `ClipGradients`",
    "optimizer_zero_grad": "gradients are dropped after each update; keep them with `accumulate`",
    "lr_scheduler_step": "a scheduler of torch's own kind, whose `step` needs no arguments",
    "transfer_batch_to_device": "batches whose parts have a method `to` are moved; "
    "`on_after_batch_transfer` may change them",
    "on_validation_model_eval": "models evaluate, and train again afterwards, by themselves",
    "on_validation_model_train": "models evaluate, and train again afterwards, by themselves",
    "on_validation_model_zero_grad": "gradients are dropped after each update",
    "on_test_model_eval": "models evaluate, and train again afterwards, by themselves",
    "on_test_model_train": "models evaluate, and train again afterwards, by themselves",
    "on_predict_model_eval": "models evaluate, and train again afterwards, by themselves",
}
"""Their method, and the way here."""


def own_methods(module: Any) -> set[str]:
    """Names that classes of the user define, and not those of Lightning or torch."""
    theirs = ("lightning.", "pytorch_lightning.", "torch.", "builtins.")
    own = [cls for cls in type(module).__mro__ if not f"{cls.__module__}.".startswith(theirs)]
    return {name for cls in own for name in vars(cls)}


def refuse_unsupported(module: Any) -> None:
    """Refuse a module with methods that would have no effect.

    Raises:
        ConfigurationError: It has one.
    """
    for name in NATIVE.keys() & own_methods(module):
        raise ConfigurationError(
            f"`{type(module).__name__}.{name}` would never be called here",
            remedy=NATIVE[name],
            option="model",
        )


def refuse_by_hand(clip: Any, precision: str) -> None:
    """Refuse options that would have no effect on updates that a module makes by hand.

    Raises:
        ConfigurationError: Clipping, or a precision that needs a loss scaler.
    """
    if clip is not None:
        raise ConfigurationError(
            f"clip={clip!r} has no effect: the LightningModule makes its updates by hand",
            remedy="`self.clip_gradients(optimizer, gradient_clip_val=...)` before each",
            option="clip",
        )
    if precision == "fp16":
        raise ConfigurationError(
            "fp16 needs a loss scaler around updates, and the LightningModule makes them by hand",
            expected="precision='bf16' or 'fp32'",
            option="precision",
        )


def refuse_ranks_by_hand(ranks: int) -> None:
    """Refuse several ranks: gradients of a backward pass by hand would stay each rank's own.

    Raises:
        ConfigurationError: There are several.
    """
    if ranks > 1:
        raise ConfigurationError(
            "a LightningModule that optimizes by hand trains in one process only",
            received=f"{ranks} ranks",
            remedy="a subclass of `Trainer` with `manual_optimization = True`, whose "
            "`training_step` calls `self.optimize(loss, optimizer)`",
            option="model",
        )
