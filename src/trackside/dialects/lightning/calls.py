"""How hooks of theirs are called: with what their signature asks for, of any version."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from trackside.dialects.lightning.trainer import MODULE, RETURNED, TrainerView
from trackside.dialects.values import as_mapping

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


UNCOUNTED = ("on_train_batch_start", "on_before_backward", "on_after_backward")
"""Hooks during which the batch in hand isn't counted yet."""


def outputs_of(view: TrainerView, read: Callable[[Any], Any], output: Any) -> Any:
    """The outputs of a step for their hooks.

    Args:
        view: The view of the trainer.
        read: From the output of the trainer's step to them.
        output: That output; of a `LightningModule`, its own result counts.
    """
    if MODULE not in view.shared:
        run = view.run
        done = 0 if run.evaluation is None else run.evaluation.batches_completed
        key = (read, run.progress.batches_completed, done)
        return view.once(key, lambda: read(output))
    returned = view.shared.get(RETURNED)
    if read is evaluated:
        return returned
    parts = returned if isinstance(returned, Mapping) else {"loss": output.loss}
    return {n: v.detach() if isinstance(v, Tensor) else v for n, v in parts.items()}


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
