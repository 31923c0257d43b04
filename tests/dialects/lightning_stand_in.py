"""Stand-ins for the base classes of Lightning, for tests that run without it.

They have the names and modules by which the dialect knows the real ones, and the few methods that
the modules of the tests call.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trackside.dialects.lightning.module import Hyperparameters


class LightningModule(nn.Module):
    __module__ = "lightning.pytorch.core.module"

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = True
        self.trainer: Any = None

    @property
    def current_epoch(self) -> int:
        return int(self.trainer.current_epoch)

    @property
    def global_step(self) -> int:
        return int(self.trainer.global_step)

    @property
    def logger(self) -> Any:
        return self.trainer.logger

    @property
    def hparams(self) -> Hyperparameters:
        return self._hparams

    def save_hyperparameters(self) -> None:
        frame: Any = inspect.currentframe()
        names = inspect.signature(type(self).__init__).parameters
        given = {n: v for n, v in frame.f_back.f_locals.items() if n in names and n != "self"}
        self._hparams = Hyperparameters(given)

    def log_dict(self, dictionary: Mapping[str, Any], **options: Any) -> None:
        for name, value in dictionary.items():
            self.log(name, value, **options)  # type: ignore[operator]

    def prepare_data(self) -> None: ...
    def setup(self, stage: str) -> None: ...
    def teardown(self, stage: str) -> None: ...
    def train_dataloader(self) -> Any: ...
    def val_dataloader(self) -> Any: ...
    def configure_callbacks(self) -> list[Any]:
        return []

    def predict_step(self, batch: Any) -> Any:
        return self(batch)

    def optimizers(self) -> Any:
        found = self.trainer.strategy._lightning_optimizers
        return found[0] if len(found) == 1 else found

    def lr_schedulers(self) -> Any:
        found = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        return found[0] if len(found) == 1 else found or None

    def manual_backward(self, loss: Tensor) -> None:
        self.trainer.strategy.backward(loss, None)

    def toggle_optimizer(self, optimizer: Optimizer) -> None:
        self._frozen = [p for p in self.parameters() if p.requires_grad]
        for parameter in self._frozen:
            parameter.requires_grad = False
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.requires_grad = True

    def untoggle_optimizer(self, optimizer: Optimizer) -> None:
        for parameter in self._frozen:
            parameter.requires_grad = True

    def clip_gradients(
        self, optimizer: Optimizer, gradient_clip_val: float, gradient_clip_algorithm: str
    ) -> None:
        plugin = self.trainer.precision_plugin
        plugin.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any
    ) -> None:
        optimizer.step(closure=optimizer_closure)


class LightningDataModule:
    __module__ = "lightning.pytorch.core.datamodule"

    trainer: Any = None

    def prepare_data(self) -> None: ...
    def setup(self, stage: str) -> None: ...
    def teardown(self, stage: str) -> None: ...
    def train_dataloader(self) -> Any: ...


def parameters(module: nn.Module) -> list[Tensor]:
    """Copies of all weights."""
    return [value.detach().clone() for value in module.state_dict().values()]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    """Whether two lists of tensors are bitwise equal."""
    return len(first) == len(second) and all(map(torch.equal, first, second))
