"""ClipGradients: keeps gradients from becoming too large, and says how large they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from torch import nn
from torch.optim import Optimizer

from trackside.callbacks.gradients.norms import check_norm_type
from trackside.distributed.gradients import clip_by_norm, clip_by_value
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.run import Run


@final
class ClipGradients(Callback):
    """Limits gradients just before the update; exactly one of `norm` and `value`.

    Logs `clip/norm`, the norm before, and `clip/share`, the share of steps in which it was above
    the limit. Values stay on the device until they are recorded. Sharded gradients are clipped by
    the norm of the whole. Where `Trainer(clip=...)` limits as well, it does so before.

    Args:
        norm: Largest norm of the gradients of an optimizer together, above 0.
        value: Largest absolute value of a single gradient, above 0.
        norm_type: Which p-norm, at least 1; `inf` is the largest absolute value.
        per_group: Whether each parameter group of the optimizer has its own norm, logged as
            `clip/norm/0`, `clip/norm/1`, ...

    Raises:
        ConfigurationError: None or both given, or not positive.

    Example:
        >>> ClipGradients(norm=1.0)

    Pascanu et al., "On the difficulty of training recurrent neural networks", 2013.
    """

    effect = "changes"
    settable = ("norm", "value")

    logs = ("clip/*",)

    def __init__(
        self,
        norm: float | None = None,
        value: float | None = None,
        *,
        norm_type: float = 2.0,
        per_group: bool = False,
    ) -> None:
        given = [limit for limit in (norm, value) if limit is not None]
        if len(given) != 1 or not given[0] > 0:
            raise ConfigurationError(
                "gradients are clipped by one positive limit",
                expected="norm=1.0 or value=0.5",
                received=f"norm={norm}, value={value}",
                option="norm" if value is None else "value",
            )
        self.norm = norm
        self.value = value
        self.norm_type = check_norm_type(norm_type)
        self.per_group = per_group

    def on_optimizer_step_start(self, run: Run, optimizer: Optimizer) -> None:
        name = next(name for name, one in run.optimizers.items() if one is optimizer)
        suffix = f"/{name}" if len(run.optimizers) > 1 else ""
        for group, parameters in self._groups(optimizer):
            if self.value is not None:
                clip_by_value(parameters, self.value)
            elif self.norm is not None:
                before = clip_by_norm(parameters, self.norm, self.norm_type)
                run.log(f"clip/norm{suffix}{group}", before, weight=1.0)
                run.log(f"clip/share{suffix}{group}", before > self.norm, weight=1.0)

    def change_gradients(self, optimizer: Optimizer) -> None:
        """Limit the gradients of `optimizer`, without a log: for a step that is repeated."""
        for _, parameters in self._groups(optimizer):
            if self.value is not None:
                clip_by_value(parameters, self.value)
            elif self.norm is not None:
                clip_by_norm(parameters, self.norm, self.norm_type)

    def _groups(self, optimizer: Optimizer) -> Iterator[tuple[str, list[nn.Parameter]]]:
        if not self.per_group:
            yield "", [p for group in optimizer.param_groups for p in group["params"]]
            return
        for index, group in enumerate(optimizer.param_groups):
            yield f"/{index}", group["params"]
