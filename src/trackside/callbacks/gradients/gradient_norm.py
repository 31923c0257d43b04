"""GradientNorm: how large the gradients are, in total and by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from torch.optim import Optimizer

from trackside.callbacks.gradients.clip_gradients import ClipGradients
from trackside.callbacks.gradients.norms import (
    check_norm_type,
    matching,
    norms_of,
)
from trackside.distributed.gradients import value_of
from trackside.lifecycle.during_steps import DuringSteps
from trackside.lifecycle.hooks import Callback
from trackside.models.naming import named_parameters
from trackside.run import Run
from trackside.schedule import Schedule


@final
class GradientNorm(Callback):
    """Logs the norm of the gradients before the update, as `grad/norm`.

    The norms stay on the device until they are recorded. `ClipGradients` comes after, the
    trainer's own `clip` before it. With several optimizers, each has its own:
    `grad/norm/generator`.

    Args:
        every: In which steps; counts steps.
        patterns: Parameters by name (`encoder.*`, `*.weight`) whose norm is logged as well, as
            `grad/norm/encoder.*`.
        norm_type: Which p-norm, at least 1; `inf` is the largest absolute value.

    Raises:
        ScheduleError: `every` doesn't count steps.
        ConfigurationError: A pattern that no parameter has, found when training starts.

    Example:
        >>> GradientNorm(every="100 steps", patterns=["encoder.*", "head.*"])
    """

    effect = "observes"
    on_error = "warn"
    calls_collectives = True
    logs = ("grad/norm", "grad/norm/*")
    runs_before = (ClipGradients,)

    def __init__(
        self,
        every: Schedule | str = "10 steps",
        *,
        patterns: Sequence[str] = (),
        norm_type: float = 2.0,
    ) -> None:
        self._steps = DuringSteps(every)
        self.every = self._steps.every
        self.patterns = tuple(patterns)
        self.norm_type = check_norm_type(norm_type)
        self._names: dict[int, str] = {}
        self._groups: dict[str, list[str]] = {}

    def on_fit_start(self, run: Run) -> None:
        named = dict(named_parameters(run.models))
        self._names = {id(parameter): name for name, parameter in named.items()}
        self._groups = matching(named, self.patterns)

    def on_optimizer_step_start(self, run: Run, optimizer: Optimizer) -> None:
        if not self._steps.due(run.progress):
            return
        title = "grad/norm"
        if len(run.optimizers) > 1:
            title += "/" + next(name for name, one in run.optimizers.items() if one is optimizer)
        gradients = {
            self._names.get(id(parameter), f"unnamed/{id(parameter)}"): gradient
            for group in optimizer.param_groups
            for parameter in group["params"]
            if (gradient := value_of(parameter)) is not None
        }
        if gradients:
            groups = {"": list(gradients), **self._groups}
            for group, norm in norms_of(gradients, groups, self.norm_type).items():
                run.log(f"{title}/{group}".rstrip("/"), norm, weight=1.0)
