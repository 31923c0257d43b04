"""The hooks of a `LightningModule`, called before those of callbacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

from trackside.dialects.lightning.adapter import TABLE, LightningAdapter
from trackside.dialects.lightning.calls import UNCOUNTED
from trackside.dialects.lightning.logged import ModuleLog
from trackside.dialects.lightning.trainer import SCHEDULERS, TrainerView
from trackside.dialects.lightning.unsupported import own_methods
from trackside.dialects.translation import Call, Row, carried_by
from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback as Ours
from trackside.run import Evaluation, Run

ELSEWHERE = ("setup", "teardown", "on_exception", "state_dict", "load_state_dict")
"""Rows of the table that modules don't have, or that their trainer's steps call."""


def _transferred(name: str) -> Row:
    """A hook that may replace the batch, in training, evaluations and predictions."""

    def train(adapter: ModuleAdapter, run: Run, batch: Any) -> Any:
        return getattr(adapter.foreign, name)(batch, 0)

    def evaluate(adapter: ModuleAdapter, run: Run, evaluation: Evaluation, batch: Any) -> Any:
        return getattr(adapter.foreign, name)(batch, adapter.log.loader or 0)

    carriers: dict[Call, Call] = {
        Ours.on_batch_start: train,
        Ours.on_evaluation_batch_start: evaluate,
        Ours.on_predict_batch_start: train,
    }
    return carried_by(carriers, turn=-2 if "before" in name else -1)


MODULE_TABLE: dict[str, Row] = {
    **{name: row for name, row in TABLE.items() if name not in ELSEWHERE},
    "on_before_batch_transfer": _transferred("on_before_batch_transfer"),
    "on_after_batch_transfer": _transferred("on_after_batch_transfer"),
}
"""Hooks of a module."""


class ModuleAdapter(LightningAdapter):
    """Answers for a `LightningModule`: its hooks, and the values that it logs.

    Args:
        module: The module.
        log: The log of its trainer's steps, once there is a run.
    """

    table = MODULE_TABLE

    def __init__(self, module: Any) -> None:
        self._own = own_methods(module)
        self.log: ModuleLog
        super().__init__(module, object)

    @property
    def default_name(self) -> str:
        """Its name among the callbacks."""
        return type(self.foreign).__name__

    def overrides(self, name: str) -> bool:
        """Whether the module defines the hook itself."""
        return name in self._own

    def _own_names(self) -> dict[str, object]:
        return {name: getattr(type(self.foreign), name, None) for name in self._own}

    def show(self, view: TrainerView) -> None:
        """Do nothing: `log` of the module is that of its trainer's steps."""

    def call(self, name: str, *given: Any) -> None:
        """Call the hook `name` of the module.

        Raises:
            UsageError: It wants to leave the rest of the epoch out.
        """
        with self.view.in_batch() if name in UNCOUNTED else nullcontext():
            returned = getattr(self.foreign, name)(*self.taken(name, given))
        if name == "on_train_batch_start" and returned == -1:
            raise UsageError(
                "lightning: `on_train_batch_start` returned -1, to leave the rest of the epoch out",
                expected="None",
                remedy="the callback `BatchLimit` shortens epochs",
            )

    def taken(self, name: str, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """Arguments of a hook, with the number of the loader where there are several."""
        if self.log.loader is None or "_batch_" not in name or "train" in name:
            return given
        return (*given, self.log.loader)

    # --- values that aren't means --------------------------------------------------------------

    def on_measure(self, run: Run, values: dict[str, float]) -> None:
        """Record them where the pass over the training data ends."""
        if not self.log.in_pass:
            values.update(self.log.finish("train"))

    def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
        """Record them where an evaluation ends."""
        evaluation.metrics.update(self.log.finish(evaluation.name))

    # --- state ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Values of a pass that goes on, and schedulers that the module moves by hand."""
        schedulers = [one.state_dict() for one in self.view.shared.get(SCHEDULERS, ())]
        metrics = {
            path: {"values": {n: getattr(part, n) for n in part._defaults}, "updates": updates}
            for path, part in metrics_of(self.foreign)
            if (updates := part.update_count)
        }
        state = {"sums": self.log.sums, "schedulers": schedulers, "metrics": metrics}
        return state if any(state.values()) else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        self.log.sums = dict(state.get("sums", {}))
        schedulers = self.view.shared.get(SCHEDULERS, ())
        for one, saved in zip(schedulers, state.get("schedulers", ()), strict=True):
            one.load_state_dict(saved)
        parts = dict(metrics_of(self.foreign))
        for path, saved in state.get("metrics", {}).items():
            for name, value in saved["values"].items():
                setattr(parts[path], name, value)
            parts[path]._update_count = saved["updates"]


def metrics_of(module: Any) -> Iterator[tuple[str, Any]]:
    """The metrics of torchmetrics that are parts of a module, by their paths."""
    for path, part in module.named_modules():
        if hasattr(part, "_defaults") and hasattr(part, "update_count"):
            yield path, part
