"""ParameterNorm: how large the weights are, in total and by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from trackside.callbacks.gradients.norms import (
    check_norm_type,
    matching,
    norms_of,
)
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.models.naming import named_parameters
from trackside.run import Run
from trackside.schedule import Schedule


@final
class ParameterNorm(PeriodicCallback):
    """Logs the norm of the weights, as `parameter/norm`; it stays on the device until recorded.

    Args:
        every: When.
        patterns: Parameters by name (`encoder.*`, `*.weight`) whose norm is logged as well, as
            `parameter/norm/encoder.*`.
        trainable_only: Whether frozen parameters are left out.
        norm_type: Which p-norm, at least 1; `inf` is the largest absolute value.

    Raises:
        ConfigurationError: A pattern that no parameter has, found when training starts.

    Example:
        >>> ParameterNorm(every="1 epoch", patterns=["*.bias"])
    """

    effect = "observes"
    on_error = "warn"
    calls_collectives = True
    logs = ("parameter/norm", "parameter/norm/*")

    def __init__(
        self,
        every: Schedule | str = "50 steps",
        *,
        patterns: Sequence[str] = (),
        trainable_only: bool = False,
        norm_type: float = 2.0,
    ) -> None:
        super().__init__(every)
        self.patterns = tuple(patterns)
        self.trainable_only = trainable_only
        self.norm_type = check_norm_type(norm_type)
        self._groups: dict[str, list[str]] = {}

    def on_fit_start(self, run: Run) -> None:
        super().on_fit_start(run)
        self._groups = matching(dict(named_parameters(run.models)), self.patterns)

    def on_due(self, run: Run) -> None:
        parameters = {
            name: parameter.detach()
            for name, parameter in named_parameters(run.models)
            if parameter.requires_grad or not self.trainable_only
        }
        groups = {"": list(parameters), **self._groups}
        for group, norm in norms_of(parameters, groups, self.norm_type).items():
            run.log(f"parameter/norm/{group}".rstrip("/"), norm, weight=1.0)
