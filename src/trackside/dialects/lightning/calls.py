"""How hooks of theirs are called: with what their signature asks for, of any version."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from trackside.dialects.values import as_mapping

if TYPE_CHECKING:
    from trackside.dialects.lightning.trainer import TrainerView

FORMER: dict[str, str] = {
    "on_init_start": "setup",
    "on_init_end": "setup",
    "on_pretrain_routine_start": "on_fit_start",
    "on_pretrain_routine_end": "on_fit_start",
    "on_epoch_start": "on_train_epoch_start",
    "on_epoch_end": "on_train_epoch_end",
    "on_batch_start": "on_train_batch_start",
    "on_batch_end": "on_train_batch_end",
    "on_keyboard_interrupt": "on_exception",
    "on_configure_sharded_model": "setup",
    "on_before_accelerator_backend_setup": "setup",
}
"""Hooks of their first version, and the one that comes then."""

EXTRA: dict[str, int] = {"dataloader_idx": 0, "unused": 0}
"""Arguments that hooks of some versions ask for, without a default."""


def further_arguments(hook: Callable[..., Any], given: int) -> tuple[int, ...]:
    """Values of arguments that a hook asks for beyond those that the present version gives.

    Args:
        hook: The bound method.
        given: How many arguments it gets.
    """
    try:
        parameters = list(inspect.signature(hook).parameters.values())
    except (TypeError, ValueError):  # written in C
        return ()
    missing = [p for p in parameters[given:] if p.default is p.empty and p.name in EXTRA]
    return tuple(EXTRA[p.name] for p in missing)


def evaluated(output: Any) -> Any:
    """The output of an evaluation's step: a tensor as it is, else a dict."""
    return output.detach() if isinstance(output, Tensor) else as_mapping(output)


class LogOfModule:
    """Stands for `log` or `log_dict` of a callback while a run goes on: those of the module.

    Args:
        view: The view of its trainer.
        name: Which of the two.
    """

    def __init__(self, view: TrainerView, name: str) -> None:
        self._view, self._name = view, name

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Log as the module does."""
        getattr(self._view.lightning_module, self._name)(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> LogOfModule:
        """A copy of the callback logs to the same run."""
        return self
