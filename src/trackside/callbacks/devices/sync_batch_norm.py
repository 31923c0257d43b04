"""SyncBatchNorm: statistics of batch norm over all ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from torch import nn

from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.run import Run


@final
class SyncBatchNorm(Callback):
    """Lets batch norms take mean and variance over the batches of all ranks, as one large batch.

    It replaces them by torch's `SyncBatchNorm`, with their weights and statistics, before the model
    is moved, sharded and given an optimizer. On one rank nothing is replaced. Worth its
    communication where the batch of a rank is small.

    Raises:
        ConfigurationError: On several ranks on the CPU, where torch has no such batch norm; found
            when the run is configured.

    Example:
        >>> SyncBatchNorm()

    Zhang et al., "Context encoding for semantic segmentation", 2018.
    """

    effect = "changes"

    def on_configure_end(self, run: Run) -> None:
        found = any(_is_to_be_replaced(m) for one in run.models.values() for m in one.modules())
        if run.world.size == 1 or not found:
            return
        if run.device.type == "cpu":
            raise ConfigurationError(
                "batch norm over ranks needs an accelerator",
                received=f"{run.world.size} ranks on the CPU",
                remedy="leave it out, or replace BatchNorm by GroupNorm or LayerNorm",
            )
        convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
        models: Any = run.models
        for name, model in run.models.items():
            models[name] = convert(model)


def _is_to_be_replaced(module: nn.Module) -> bool:
    batch_norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return isinstance(module, batch_norms)
