"""`self.log` of a `LightningModule`, and the values that it keeps until the end of a pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trackside.dialects.lightning.metrics import as_tensor
from trackside.dialects.lightning.trainer import TrainerView
from trackside.dialects.values import is_number
from trackside.dialects.view import so_far
from trackside.errors import ConfigurationError, UsageError
from trackside.run import Run
from trackside.step.metric_states import over_ranks

REDUCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": torch.add,
    "min": torch.minimum,
    "max": torch.maximum,
}
"""Reductions beside the mean."""


def full_name(name: str, place: str) -> str:
    """The name under which the value is recorded: `acc` and `val_acc` are `val/acc` in `val`.

    Args:
        name: As the module logs it.
        place: `train`, or the name of the evaluation.
    """
    if name.startswith(f"{place}/"):
        return name
    return f"{place}/{name.removeprefix(f'{place}_')}"


def watched_name(name: str, place: str = "val") -> str:
    """The name under which a watched value is recorded: of the training, or of `place`.

    Args:
        name: As the module logs it.
        place: The evaluation that it is of, unless its name says that it is the training's.
    """
    return full_name(name, "train" if name.startswith(("train_", "train/")) else place)


class ModuleLog:
    """Stands for the method `log` of the module while a run goes on.

    Args:
        run: The run.
        view: The view of its trainer.
    """

    def __init__(self, run: Run, view: TrainerView) -> None:
        self.run, self.view = run, view
        self.loss: Tensor | None = None
        """The value that the batch in hand logged under the name of the loss of its data."""
        self.loader: int | None = None
        """Number of the loader that the batch in hand is from, where there are several."""
        self.sums: dict[str, dict[str, Any]] = {}
        """Values with another reduction than the mean, by the name they are recorded by."""
        self.metrics: dict[str, Any] = {}
        """Metrics of torchmetrics that are computed at the end of the pass, likewise."""

    def begin_batch(self) -> None:
        """Forget the loss of the batch before."""
        self.loss = self.loader = None

    def __deepcopy__(self, memo: dict[int, Any]) -> ModuleLog:
        """A copy of the module logs to the same run."""
        return self

    def __call__(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Log a number or a metric of torchmetrics.

        Args:
            name: Its name: `callback_metrics` has it, and records have `train/` or that of the data
                in the place of `train_` or `val_`.
            value: A number, a tensor of one element, or a metric.
            prog_bar: Nothing: the callback `ProgressBar` says itself what it shows.
            logger: Whether it is recorded; otherwise it is in `callback_metrics` alone.
            on_step: Whether `callback_metrics` has the value of each step; None: in training.
            on_epoch: Whether `callback_metrics` has that of the epoch; None: outside of training.
            reduce_fx: `mean`, weighted by samples, or `sum`, `min`, `max`.
            enable_graph: Nothing: what is recorded has no gradient.
            sync_dist: Nothing: what is recorded is over all ranks.
            sync_dist_group: Nothing, likewise.
            add_dataloader_idx: Whether names of several loaders get their numbers.
            batch_size: Weight in the mean; None takes the samples of the batch in hand.
            metric_attribute: Nothing: a metric is known by itself.
            rank_zero_only: Nothing: all ranks log.

        Raises:
            UsageError: It isn't a number.
            ConfigurationError: Another reduction.
        """
        evaluation = self.run.evaluation
        trains = evaluation is None and self.in_pass
        on_step = trains if on_step is None else on_step
        on_epoch = not trains if on_epoch is None else on_epoch
        if self.loader is not None and add_dataloader_idx:
            name = f"{name}/dataloader_idx_{self.loader}"
        place = "train" if evaluation is None else evaluation.name
        full = full_name(name, place)
        if on_epoch:
            self._announce(full, name, forked=on_step)
        if hasattr(value, "compute") and hasattr(value, "update"):
            if on_epoch:
                self.metrics[full] = value
            value = value._forward_cache if on_step else None
            if value is None:
                return
            on_epoch = False
        if not is_number(value):
            raise UsageError(
                f"lightning: {name!r} was logged, which isn't a single number",
                received=type(value).__name__,
                remedy="reduce it first: `value.mean()`; a dict of numbers: `log_dict`",
            )
        if on_step:
            self._show({f"{name}_step" if on_epoch else name: value})
        if on_epoch and evaluation is None and not self.in_pass:
            self._show({name: value})
        reduction = getattr(reduce_fx, "__name__", reduce_fx)
        if logger is False:
            return
        if reduction in ("mean", "default"):
            self._mean(full, name, value, batch_size)
        elif reduction in REDUCTIONS:
            self._reduce(full, reduction, value)
        else:
            raise ConfigurationError(
                f"lightning: {name!r} can't be logged with `reduce_fx={reduce_fx!r}` here",
                expected="'mean', 'sum', 'min' or 'max'",
                remedy="a metric of torchmetrics reduces as it likes: `self.log(name, metric)`",
            )

    @property
    def in_pass(self) -> bool:
        """Whether the pass over the training data goes on."""
        return self.run.progress.epochs_completed <= self.view.epoch

    def _announce(self, full: str, name: str, *, forked: bool) -> None:
        """Let `callback_metrics` have the value recorded as `full` under its own names."""
        names = {name, f"{name}_epoch"} if forked else {name}
        self.view.kept_metrics.own |= names
        self.view.shared["__aliases__"].setdefault(full, set()).update(names)

    def _show(self, values: dict[str, Any]) -> None:
        metrics = self.view.kept_metrics
        for name, value in values.items():
            metrics.own.add(name)
            metrics[name] = as_tensor(value)

    def _mean(self, full: str, name: str, value: Any, batch_size: int | None) -> None:
        topic, _, metric = full.partition("/")
        if topic in so_far(self.run, "data") and metric == "loss":
            self.loss = as_tensor(value)
        elif self.run.evaluation is None and not self.in_pass:
            self.run.log(f"logged/{name}", value, weight=1.0)
        else:
            self.run.log(full, value, weight=batch_size)

    def _reduce(self, full: str, reduction: str, value: Any) -> None:
        value, kept = as_tensor(value), self.sums.get(full)
        if kept is not None:
            value = REDUCTIONS[reduction](kept["value"], value)
        self.sums[full] = {"value": value, "reduction": reduction}

    def finish(self, place: str) -> dict[str, float]:
        """Values of the pass over `place` that aren't means, over all ranks; they start again."""
        found: dict[str, float] = {}
        for full in [name for name in self.sums if name.startswith(f"{place}/")]:
            kept = self.sums.pop(full)
            found[full] = float(self.run.world.all_reduce(kept["value"], kept["reduction"]))
        metrics = {n: m for n, m in self.metrics.items() if n.startswith(f"{place}/")}
        with over_ranks(self.run.world, metrics):
            found |= {full: float(metric.compute()) for full, metric in metrics.items()}
        for full, metric in metrics.items():
            del self.metrics[full]
            metric.reset()
        return found
