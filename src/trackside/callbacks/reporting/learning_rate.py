"""`LearningRate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.run import Run


@final
class LearningRate(Callback):
    """Records the learning rate of every parameter group: `lr/0`, `lr/1`, ...

    With several optimizers the names are `lr/generator/0`. The value is the one that the next step
    will use. Read when a record is made, not in every step.

    Args:
        also: Further settings of the groups, such as `weight_decay` or `momentum`; recorded as
            `weight_decay/0`.

    Example:
        >>> LearningRate(also=["weight_decay"])
        LearningRate(also=('weight_decay',))
    """

    effect = "observes"
    on_error = "warn"

    def __init__(self, *, also: Sequence[str] = ()) -> None:
        self.also = tuple(also)
        self.logs = ("lr/*", *(f"{setting}/*" for setting in self.also))

    def on_fit_start(self, run: Run) -> None:
        """Refuse a setting that no group has."""
        for setting in self.also:
            known = sorted({key for _, group in run.parameter_groups for key in group} - {"params"})
            if setting not in known:
                raise ConfigurationError(
                    f"no parameter group has a setting {setting!r}", expected=", ".join(known)
                )

    def on_measure(self, run: Run, values: dict[str, float]) -> None:
        for name, group in run.parameter_groups:
            values[f"lr/{name}"] = float(group["lr"])
            for setting in self.also:
                if setting in group:
                    values[f"{setting}/{name}"] = float(group[setting])
