"""Models of Noether's own kind, which have their optimizer: here they show that of the run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.optim import Optimizer

from trackside.dialects.view import model_of, so_far
from trackside.run import Run

MODEL = ("noether.core.models.base", "ModelBase")


class OptimizerView:
    """Stands for the optimizer of a model: that of the run, with the rates of the last update.

    A scheduler of torch has moved on when an update is over, theirs hasn't yet.

    Args:
        optimizer: That of the run.
        schedule: Its scheduler; None where it has none.
    """

    weight_decay_schedule = None

    def __init__(self, optimizer: Optimizer, schedule: Any) -> None:
        self.schedule = schedule
        self._optimizer = optimizer
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._hook = optimizer.register_step_post_hook(self._note)

    def _note(self, optimizer: Optimizer, *_: Any) -> None:
        self._rates = [group["lr"] for group in optimizer.param_groups]

    @property
    def torch_optim(self) -> OptimizerView:
        """The optimizer itself, as far as callbacks look at it."""
        return self

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Its groups of parameters."""
        groups = zip(self._optimizer.param_groups, self._rates, strict=True)
        return [{**group, "lr": rate} for group, rate in groups]

    def close(self) -> None:
        """Look no longer."""
        self._hook.remove()


def lend_optimizers(run: Run) -> list[Any]:
    """Show the optimizers of the run to its models of Noether's kind that have none of their own.

    Returns:
        The models, for `take_back`.
    """
    schedules = so_far(run, "schedulers")
    lent: list[Any] = []
    for name, optimizer in so_far(run, "optimizers").items():
        model: Any = model_of(run, optimizer)
        kinds = [(cls.__module__, cls.__name__) for cls in type(model).__mro__]
        if MODEL in kinds and model._optim is None:
            model._optim = OptimizerView(optimizer, schedules.get(name))
            lent.append(model)
    return lent


def take_back(models: Iterable[Any]) -> None:
    """Leave the models as they were."""
    for model in models:
        model._optim.close()
        model._optim = None
