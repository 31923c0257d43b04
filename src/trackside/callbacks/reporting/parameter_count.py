"""`ParameterCount`."""

from __future__ import annotations

from typing import final

from trackside.lifecycle.hooks import Callback
from trackside.models.naming import prefix
from trackside.run import Run


@final
class ParameterCount(Callback):
    """Records how many parameters the models have: `parameters/total`, `parameters/trainable`.

    Each parameter counts once, however often it is used. Counted at the start of each pass over
    the training data, and recorded at first and whenever the numbers have changed, as they do when
    layers are unfrozen. With several models the names are `parameters/generator/total`.

    Example:
        >>> ParameterCount()
        ParameterCount()
    """

    effect = "observes"
    on_error = "warn"
    logs = ("parameters/*",)

    def __init__(self) -> None:
        self._counted: dict[str, float] = {}
        self._recorded: dict[str, float] = {}

    def on_fit_start(self, run: Run) -> None:
        self._recorded = {
            name: value
            for name in run.history.names
            if name.startswith("parameters/") and (value := run.history.latest(name)) is not None
        }

    def on_train_epoch_start(self, run: Run) -> None:
        self._counted = {}
        for name, model in run.models.items():
            path = "parameters/" + prefix(name, run.models, "/")
            sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
            self._counted[path + "total"] = float(sum(size for size, _ in sizes))
            self._counted[path + "trainable"] = float(sum(size for size, wants in sizes if wants))

    def on_measure(self, run: Run, values: dict[str, float]) -> None:
        if self._counted != self._recorded:
            values.update(self._counted)
            self._recorded = self._counted
