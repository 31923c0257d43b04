"""`Evaluate`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

from torch import nn
from torch.utils.data import Dataset

from trackside.callbacks.evaluation.own_batches import own_batches
from trackside.callbacks.evaluation.time_share import TimeShare
from trackside.data.recognition import RankData
from trackside.data.source import DataSource
from trackside.errors import ConfigurationError, UnknownDataError, UsageError, did_you_mean
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.lifecycle.roles import KeepsAverages
from trackside.progress import whole_number
from trackside.run import Evaluation, Rollback, Run
from trackside.saved import checked
from trackside.schedule import Schedule
from trackside.step.metric_states import over_ranks
from trackside.step.metrics import Metric, MetricFunction, metrics_by_name, scalars
from trackside.step.output import as_output

logger = logging.getLogger("trackside")


@final
class Evaluate(PeriodicCallback):
    """Evaluates a named data set on its own schedule, beside `fit`'s `evaluate_every`.

    The evaluation is the loop's: it has all hooks and the trainer's metrics, and leaves training as
    it was. With batches, metrics or weights of its own it wants a name of its own as well, so that
    the same data can be evaluated in several ways: `record_as="val_subset"` records
    `val_subset/loss`, which other callbacks may watch. Without one, these options hold for every
    evaluation under the data's name; one that the loop makes at the same step counts as its own.

    Args:
        data: Name of the data: any key given to `fit` as `validation` or `data`; `train` with a
            separate name, where each sample counts once on any number of ranks.
        every: When.
        record_as: Name of the evaluation, which stands before its values; None takes that of the
            data.
        batch_size: Samples per batch; None takes batches as `fit` got them.
        sampler: Which samples, in which order: indices, or a function of the data set that returns
            them (a sampler of torch's, with `partial: true` in a file). None takes all.
        metrics: Further metrics by name, beside the trainer's: torchmetrics' metrics, or functions
            of prediction and target that return the batch's mean.
        average: Name of a callback whose averages are evaluated, such as `ema` or `swa`, whether or
            not it evaluates with them itself; false evaluates the weights as trained. None leaves
            it to these callbacks.
        time_percent: Most that evaluations, all of the run's together, may take of its time, in
            percent; above 0, below 100. One that is due and doesn't fit is left out. The first one
            is made, since nobody knows how long it takes, and so is one at the end that `last` in
            `every` asks for. Wall time decides, by the clock of rank 0: the steps are others when
            the run is made again; the records say which they were. A resume goes on with the time
            that was taken. None: no limit.

    Raises:
        ConfigurationError: An option is wrong, or two of these callbacks mean different things by
            one name.
        UnknownDataError: When the run starts: there is no such data.
        UsageError: When the run starts: its batches can't be made again, or no callback of that
            name has averages.

    Example:
        >>> Evaluate("val", every="5 epochs", record_as="val_ema", batch_size=256, average="ema")
    """

    effect = "steers"
    runs_before = ("ema", "swa", "batch_limit")

    def __init__(
        self,
        data: str = "test",
        every: Schedule | str = "1 epoch",
        *,
        record_as: str | None = None,
        batch_size: int | None = None,
        sampler: Iterable[int] | Callable[[Dataset[Any]], Iterable[int]] | None = None,
        metrics: Mapping[str, Metric | MetricFunction] | None = None,
        average: str | bool | None = None,
        time_percent: float | None = None,
    ) -> None:
        super().__init__(every)
        if batch_size is not None:
            whole_number(batch_size, "batch_size", at_least=1)
        if average is True:
            raise ConfigurationError(
                "average=True doesn't say whose averages",
                expected="a name, such as 'ema'",
                option="average",
            )
        self.data = data
        self.record_as = record_as or data
        self.batch_size = batch_size
        self.sampler = sampler
        self.metrics = metrics_by_name(metrics)
        self.average = average
        self.time_percent = time_percent
        self._share = None if time_percent is None else TimeShare(time_percent)
        self._is_asked = self._is_over = False
        self._left_out_at: int | None = None
        self._evaluated_at: int | None = None
        if self.record_as == "train" or "/" in self.record_as:
            raise ConfigurationError(
                f"an evaluation can't be recorded as {self.record_as!r}",
                expected="record_as=... without a slash, other than 'train'",
                option="record_as",
            )
        self.logs = (f"{self.record_as}/*",)

    def idle_hooks(self) -> frozenset[str]:
        # After the training of an epoch, not after its end: its values are among the epoch's.
        idle = super().idle_hooks()
        return idle | {"on_train_epoch_end" if "on_epoch_end" in idle else "on_epoch_end"}

    def on_attach(self, run: Run) -> None:
        if run.mode == "fit" and self.time_percent is not None:
            self._share = TimeShare(self.time_percent)
            self._is_asked = self._is_over = False
            self._left_out_at = self._evaluated_at = None

    def on_configure_end(self, run: Run) -> None:
        if run.mode != "fit":
            return
        if self.data not in run.data:
            raise UnknownDataError.among(run.data, self.data, "to evaluate", option="data")
        self._check_alone(run)
        sources: Any = run.data
        source = sources[self.data]
        if self.batch_size is not None or self.sampler is not None:
            batches: object = own_batches(source, self.batch_size, self.sampler)
        elif self.record_as != self.data:
            batches = own_batches(source) if self.data == "train" else source.data
        else:
            return
        if source.split.is_declared:
            batches = RankData(batches)
        size = self.batch_size or getattr(source.loader, "batch_size", None) or 1
        sources[self.record_as] = DataSource(self.record_as, batches, size, world=run.world)

    def on_fit_start(self, run: Run) -> None:
        super().on_fit_start(run)
        self._after_epochs.start(run.progress, run.limit)
        for metric in self.metrics.values():
            if isinstance(metric, nn.Module):
                metric.to(run.device)
        if isinstance(self.average, str):
            self._averaging(run)

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        super().on_roll_back(run, rollback)
        self._is_asked = False
        self._left_out_at = self._evaluated_at = None
        self._after_epochs.start(run.progress, run.limit)

    def on_train_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        if self._after_epochs.crossed(run.progress):
            self.on_due(run)

    def on_fit_end(self, run: Run) -> None:
        self._is_over = True
        super().on_fit_end(run)
        if self._after_steps.last and self._left_out_at == run.progress.steps_completed:
            self.on_due(run)  # for the schedule, its period had its turn at this step
        if self._share is not None and run.world.is_global_zero:
            steps = [step for step, _ in run.history.points(f"{self.record_as}/loss")]
            logger.info("%s was evaluated after steps %s: time decided", self.record_as, steps)

    def on_due(self, run: Run) -> None:
        by_clock = "seconds" in self.every.units if self.every else True
        if self._share is not None:
            if self._is_asked or not run.world.is_global_zero:
                return  # the clock of rank 0 decides, and the others hear of it some steps later
            if self._evaluated_at == run.progress.steps_completed:
                return  # the loop's own evaluation of this name has seen these weights
            if not (self._is_over or self._share.fits(run.progress.seconds)):
                self._left_out_at = run.progress.steps_completed
                return
            by_clock = self._is_asked = True
            self._left_out_at = None
        # By counts, all ranks ask for it at this step: there is nothing to agree on.
        run.evaluate(self.record_as, f"every {self.every}", all_ranks=not by_clock)

    def on_evaluation_start(self, run: Run, evaluation: Evaluation) -> None:
        if self._share is not None and run.mode == "fit" and not evaluation.sanity:
            is_own = evaluation.name == self.record_as
            self._is_asked &= not is_own
            if is_own:
                self._evaluated_at = run.progress.steps_completed
            evaluation.exits.callback(self._share.timing(expected=is_own))
        if evaluation.name != self.record_as:
            return
        for metric in self.metrics.values():
            if isinstance(metric, Metric):
                metric.reset()
        if self.average is not None and run.mode == "fit":
            evaluation.average = self.average
            if self.average:
                evaluation.exits.enter_context(self._averaging(run).averaged(run))

    def on_evaluation_batch_end(
        self, run: Run, evaluation: Evaluation, batch: Any, output: Any
    ) -> None:
        if evaluation.name != self.record_as or not self.metrics:
            return
        found = as_output(output)
        if found.prediction is None:
            raise UsageError(
                "`Evaluate` has metrics, and the evaluation step returned no prediction",
                remedy="return `Output(loss, prediction, target)` from `evaluation_step`",
            )
        for name, metric in self.metrics.items():
            if isinstance(metric, Metric):
                metric.update(found.prediction, found.target)
            else:
                run.log(f"{self.record_as}/{name}", metric(found.prediction, found.target))

    def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
        if evaluation.name != self.record_as:
            return
        metrics = {name: m for name, m in self.metrics.items() if isinstance(m, Metric)}
        with over_ranks(run.world, metrics):
            for name, metric in metrics.items():
                numbers, others = scalars(f"{self.record_as}/{name}", metric.compute())
                evaluation.metrics.update(numbers)
                evaluation.results.update(others)
                for full_name, value in numbers.items():
                    run.log(full_name, value, weight=1.0)

    def average_of(self, evaluation: str) -> str | bool | None:
        """See `ChoosesAverages`: the option `average`, for the evaluations of this callback."""
        return self.average if evaluation == self.record_as else None

    def state_dict(self) -> dict[str, Any]:
        return {} if self._share is None else {"time": self._share.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._share is not None:
            self._share.load_state_dict(checked(state, time=dict[str, Any])["time"])

    def _averaging(self, run: Run) -> KeepsAverages:
        """The callback that keeps the averages."""
        found = run.callbacks.get(str(self.average))
        if not isinstance(found, KeepsAverages):
            known = [n for n, one in run.callbacks.items() if isinstance(one, KeepsAverages)]
            raise UsageError(
                f"`Evaluate` finds no averages: no callback {self.average!r} has any",
                expected="the name of a callback with a method `averaged`, such as `EMA`",
                remedy=did_you_mean(str(self.average), known),
            )
        return found

    def _check_alone(self, run: Run) -> None:
        """Refuse another one that records something else under the same name."""
        mine = self._meaning()
        others = [one for one in run.callbacks if isinstance(one, Evaluate)]
        same_name = [one for one in others if one.record_as == self.record_as]
        if any(one._meaning() != mine for one in same_name):
            raise ConfigurationError(
                f"two callbacks record different evaluations as {self.record_as!r}",
                remedy="give one of them another name: record_as=...",
                option="record_as",
            )

    def _meaning(self) -> tuple[Any, ...]:
        # Samplers and metrics by identity: comparing them may itself compute something.
        metrics = {name: id(metric) for name, metric in self.metrics.items()}
        return self.data, self.batch_size, id(self.sampler), metrics, self.average
