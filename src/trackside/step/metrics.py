"""Logged values by name until they are recorded, and metrics over predictions.

Means stay on the device (`means.py`) and come to the host together: at the logging interval, at
the epoch's end, at the end of an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from trackside.errors import ConfigurationError, UsageError, shortened
from trackside.progress import Progress
from trackside.step.means import BLOCK, Mean, Reduce, Sums, read

LogMark = tuple[Mapping[str, int], int]
"""How many values wait: by name, and of those whose weight isn't known yet."""


class MetricLog:
    """Everything that is logged in a run, by name, until it becomes a record.

    Names under `train/` have two means: over the epoch under their own name, and since the last
    record under `train_recent/`. Other names are recorded at the next record. While an evaluation
    is under way, names under its own name belong to it.
    """

    def __init__(
        self,
        reduce: Reduce | None = None,
        *,
        reserved: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """See the class.

        Args:
            reduce: Sums over all ranks; None: this is the only one.
            reserved: Names that the loop records itself, each with what it records there.
            progress: Counters of the run, for `leave_out`.
        """
        self._progress = progress or Progress()
        self._reduce = reduce
        self._reserved = reserved or {}
        self._means: dict[str, Mean] = {}
        self._evaluation: dict[str, Mean] | None = None
        self._prefix = ""
        self._uncounted: list[tuple[Mean, Tensor | float]] = []
        self.of_nothing: Sequence[str] = ()
        """Names without a mean over the last epoch or evaluation: their values weigh nothing."""

    def mean(self, name: str) -> Mean:
        """The mean kept under `name`."""
        means = self._means
        if self._evaluation is not None and name.startswith(self._prefix):
            means = self._evaluation
        mean = means.get(name)
        if mean is None:
            mean = means[name] = Mean()
        return mean

    def add(self, name: str, value: Tensor | float, weight: Tensor | float) -> None:
        """Add a value to the mean under `name`; with the weight nan, it waits for `settle`."""
        if not isinstance(value, Tensor):
            value = _number(name, value)
        elif value.numel() == 1:
            value = value.detach() if value.requires_grad else value
        else:
            raise UsageError(
                f"what is logged as {name!r} isn't a single number",
                expected="a number, or a tensor of one element",
                received=f"a tensor of shape {tuple(value.shape)}",
                remedy="reduce it first: `value.mean()`",
            )
        mean = self.mean(name)
        if type(weight) is float and weight != weight:
            self._uncounted.append((mean, value))
        else:
            self._take(mean, value, weight)

    def log(self, name: str, value: Tensor | float, weight: float) -> None:
        """Add a value that a step or a callback logs.

        Raises:
            UsageError: The loop records that name itself: the mean would be of two things.
        """
        own = self._reserved.get(name)
        if own is not None or name.startswith("train_recent/"):
            topic, _, metric = name.partition("/")
            raise UsageError(
                f"{name!r} was logged, and the loop records it itself: "
                + (own or "the mean of `train/...` since the last record"),
                received=f"run.log({name!r}, ...)",
                remedy=f"log it under another name, such as {f'{topic}/my_{metric}'!r}",
                option=name,
            )
        if self._evaluation is None:
            self.mean(name).begin_step(self._progress.steps_completed)
        self.add(name, value, weight)

    def mark(self) -> LogMark:
        """The present state of what the step under way logs, for `back_to`."""
        return {name: mean.waiting for name, mean in self._means.items()}, len(self._uncounted)

    def back_to(self, mark: LogMark) -> None:
        """Forget what was logged since `mark` in the step under way."""
        waiting, uncounted = mark
        for name, mean in self._means.items():
            mean.shorten(waiting.get(name, 0))
        del self._uncounted[uncounted:]

    def begin_step(self) -> None:
        """A step of several batches begins: their losses belong together."""
        self.mean("train/loss").begin_step(self._progress.steps_completed)

    def leave_out(self) -> None:
        """Leave out what isn't finite of what the last step logged: it made no update."""
        for name, mean in self._means.items():
            before = self._progress.steps_completed - 1
            mean.leave_out(before, last=int(name == "train/loss"))

    def leave_out_where(self, skipped: Tensor | None) -> None:
        """As `leave_out`, of the step under way, if `skipped`; only its device knows whether."""
        for name, mean in self._means.items() if skipped is not None else ():
            before = self._progress.steps_completed
            mean.leave_out(before, where=skipped, last=int(name == "train/loss"))

    def settle(self, weight: float) -> None:
        """Add the values that waited: the batch in which they were logged weighs `weight`."""
        for mean, value in self._uncounted:
            self._take(mean, value, weight)
        self._uncounted.clear()

    def _take(self, mean: Mean, value: Tensor | float, weight: Tensor | float) -> None:
        if self._evaluation is None:  # values of a step are folded after it: it may be left out
            mean.keep((value, weight))
        else:
            mean.add(value, weight)

    def fold(self) -> None:
        """Fold the means that have kept many values: how many wait must not grow without end."""
        for mean in self._means.values():
            if mean.waiting >= BLOCK:
                mean.fold()

    def recent(self) -> dict[str, float]:
        """Means since the last record; they start again."""
        sums: dict[str, Sums] = {}
        for name, mean in self._means.items():
            mean.fold()
            if mean.recent is not None:
                topic, _, rest = name.partition("/")
                sums[f"train_recent/{rest}" if topic == "train" else name] = mean.recent
                mean.recent = None
        return read(sums, self._reduce)

    def epoch(self) -> dict[str, float]:
        """Means over the epoch of the names under `train/`; they start again.

        A name whose values weigh nothing has none: `of_nothing` has those names.
        """
        sums: dict[str, Sums] = {}
        for name, mean in self._means.items():
            mean.fold()
            if name.startswith("train/") and mean.epoch is not None:
                sums[name] = mean.epoch
            mean.epoch = None
            if name.startswith("train/"):
                mean.recent = None
        means = read(sums, self._reduce)
        self.of_nothing = sorted(sums.keys() - means.keys())
        return means

    def begin_evaluation(self, name: str) -> None:
        """From now on, names under `name/` belong to that evaluation."""
        self._evaluation, self._prefix = {}, f"{name}/"

    def end_evaluation(self) -> dict[str, float]:
        """Means of the evaluation that ends."""
        return self.close_evaluation()

    def close_evaluation(self) -> dict[str, float]:
        """Means of what was logged since `begin_evaluation`."""
        means, self._evaluation = self._evaluation or {}, None
        for mean in means.values():
            mean.fold()
        sums = {name: mean.epoch for name, mean in means.items() if mean.epoch is not None}
        found = read(sums, self._reduce)
        self.of_nothing = sorted(sums.keys() - found.keys())
        return found

    def abandon_evaluation(self) -> None:
        """Drop what the evaluation under way has logged."""
        self._evaluation = None

    def state_dict(self) -> dict[str, Any]:
        """All means by name."""
        return {name: mean.state_dict() for name, mean in self._means.items()}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from `state`. Means stay the objects that they are: the loop holds one of them."""
        for name in [name for name in self._means if name not in state]:
            self._means[name].reset()
        for name, kept in state.items():
            self.mean(name).load_state_dict(kept, device)


def merged(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge the log states of all ranks into one."""
    names = dict.fromkeys(name for state in states for name in state)
    together: dict[str, Any] = {}
    for name in names:
        parts = [state[name] for state in states if name in state]
        kept: dict[str, Any] = {}
        for field in ("values", "weights", "epoch", "recent"):
            there = [part[field] for part in parts if part[field] is not None]
            one = torch.cat(there) if there and field in ("values", "weights") else None
            if there and one is None:
                one = torch.stack(there).sum(0)
            kept[field] = one
        together[name] = kept
    return together


# --- metrics over predictions ------------------------------------------------------------------


@runtime_checkable
class Metric(Protocol):
    """Interface of torchmetrics' metrics; they are accepted as they are."""

    def update(self, prediction: Any, target: Any) -> None:
        """Take a batch in."""

    def compute(self) -> Any:
        """The value over all batches taken in."""

    def reset(self) -> None:
        """Forget all batches."""


def _number(name: str, value: Any) -> float:
    try:
        if not isinstance(value, str):  # Python takes "0.5" for a number
            return float(value)
    except (TypeError, ValueError):
        pass  # refused as a text is
    raise UsageError(
        f"what is logged as {name!r} isn't a number",
        expected="a number, or a tensor of one element",
        received=shortened(value),
        remedy="return it from the function" if value is None else None,
    )


MetricFunction = Callable[[Any, Any], Tensor]
"""From prediction and target of a batch to its mean, shape `()`."""


def metrics_by_name(metrics: Mapping[str, Any] | None) -> dict[str, Any]:
    """Metrics as a trainer is given them.

    Raises:
        ConfigurationError: They have no names, or one is neither a metric nor a function.
    """
    if metrics is not None and not isinstance(metrics, Mapping):
        raise ConfigurationError(
            "metrics have names, under which they are logged",
            expected="a mapping: metrics={'accuracy': accuracy}",
            received=type(metrics).__name__,
            remedy="give each a name; several of torchmetrics go into one `MetricCollection`",
            option="metrics",
        )
    for name, metric in (metrics or {}).items():
        if name == "loss":
            raise ConfigurationError(
                "a metric can't be called 'loss': the loop records the loss of the data by that",
                remedy="another name, such as 'error'",
                option="metrics",
            )
        if not isinstance(metric, type) and callable(getattr(metric, "increment", None)):
            raise ConfigurationError(
                f"the metric {name!r} keeps a metric for each of its own steps, and nobody calls "
                "its `increment`",
                expected="a metric that is reset after each evaluation; the run's history keeps "
                "the values, and its best: `result.history.best('val/...')`",
                received=type(metric).__name__,
                remedy="give the metric that it wraps",
                option="metrics",
            )
        if isinstance(metric, type) or not (isinstance(metric, Metric) or callable(metric)):
            raise ConfigurationError(
                f"the metric {name!r} can't be computed",
                expected="a torchmetrics metric, or a function of prediction and target",
                received=f"the class {metric.__name__}"
                if isinstance(metric, type)
                else type(metric).__name__,
                remedy="make an instance" if isinstance(metric, type) else None,
                option="metrics",
            )
    return dict(metrics or {})


def scalars(name: str, value: Any) -> tuple[dict[str, float], dict[str, Any]]:
    """Split a computed metric into single numbers and everything else, by full name."""
    if isinstance(value, Mapping):
        numbers: dict[str, float] = {}
        others: dict[str, Any] = {}
        for key, part in value.items():
            more_numbers, more_others = scalars(f"{name}_{key}", part)
            numbers.update(more_numbers)
            others.update(more_others)
        return numbers, others
    if isinstance(value, Tensor) and value.numel() != 1:
        return {}, {name: value.detach().cpu()}
    return {name: float(value)}, {}
