"""`trainer.strategy`: ranks and their collectives, under their names."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from trackside.dialects.lightning.ranks import Ranks
from trackside.lifecycle.hooks import Callback
from trackside.machine.paths import local_path

if TYPE_CHECKING:
    from trackside.dialects.lightning.trainer import TrainerView

OPERATIONS: dict[str, Literal["mean", "sum", "min", "max"]] = {
    "mean": "mean",
    "avg": "mean",
    "sum": "sum",
    "min": "min",
    "max": "max",
}
"""Their words for a reduction, and ours."""


LOSS = "__loss__"
"""Where the views keep the last loss that a module by hand went backward from."""


class Strategy(Ranks):
    """Stands for the strategy of the trainer: who trains together.

    Args:
        trainer: The view it belongs to.
    """

    dialect = "lightning"
    stands_for = "Strategy"
    refuses_settings = True
    instead = {
        "setup_environment": "process groups are made by `trackside train --processes N`",
        "save_checkpoint": "the callback `Checkpoint` saves; `trainer.save_checkpoint(path)` keeps "
        "one file",
    }

    def __init__(self, trainer: TrainerView) -> None:
        super().__init__()
        vars(self)["_trainer"] = trainer
        self.look_at(trainer.run)

    @property
    def model(self) -> Any:
        """The model."""
        return vars(self)["_trainer"].model

    @property
    def lightning_module(self) -> Any:
        """The `pl_module` of hooks."""
        return vars(self)["_trainer"].lightning_module

    @property
    def optimizers(self) -> list[Any]:
        """All optimizers."""
        found: list[Any] = vars(self)["_trainer"].optimizers
        return found

    _lightning_optimizers = optimizers

    @property
    def lr_scheduler_configs(self) -> list[Any]:
        """All schedulers, each with when it moves."""
        configs: list[Any] = vars(self)["_trainer"].lr_scheduler_configs
        return configs

    @property
    def root_device(self) -> torch.device:
        """Device of the model."""
        return self.run.device

    def barrier(self, name: str | None = None) -> None:
        """Wait until every rank is here."""
        self.run.world.barrier()

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """The value of rank `src`, on every rank."""
        return self.run.world.broadcast(obj, src)

    def reduce(self, tensor: Any, group: Any = None, reduce_op: str | None = "mean") -> Any:
        """The mean (or `sum`, `min`, `max`) of a tensor over ranks."""
        operation = OPERATIONS[str(reduce_op or "sum").lower()]
        if not isinstance(tensor, Tensor):
            return tensor
        if operation == "mean" and not tensor.is_floating_point():
            tensor = tensor.float()
        return self.run.world.all_reduce(tensor, operation)

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:  # noqa: A002
        """Whether all ranks, or any of them, decide so."""
        return bool(self.run.world.all_reduce(float(decision), "min" if all else "max"))

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        """Values of all ranks, shape `(ranks, ...)`; as they are where there is one."""
        if self.run.world.size == 1:
            return tensor
        return torch.stack([t.to(tensor.device) for t in self.run.world.gather(tensor)])

    def backward(self, loss: Tensor, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        """Add the gradients of a loss, for modules that optimize by hand."""
        self.shared[LOSS] = loss.detach()
        self.run.emit(Callback.on_backward_start, loss)
        loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.run.emit(Callback.on_backward_end, loss)

    def remove_checkpoint(self, filepath: Any) -> None:
        """Remove a file or folder that was saved; on rank 0."""
        path = local_path(filepath)
        if self.run.world.is_global_zero and path.exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
