"""SWA: the plain mean of the weights along the end of training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, final

from torch import Tensor, nn

from trackside.callbacks.averaging.averages import Averaged, take_over
from trackside.callbacks.averaging.batch_norm import measure, norms, statistics
from trackside.errors import ConfigurationError, UsageError
from trackside.lifecycle.hooks import Callback
from trackside.outcome import Outcome, Status
from trackside.progress import whole_number
from trackside.run import Evaluation, Rollback, Run
from trackside.saved import checked
from trackside.schedule import STEP_UNITS, Due, Every, Schedule, reached

_RESTORING = ("restore", "restore_best")
"""Options by which `BestCheckpoint` and `EarlyStopping` put the best weights back at the end."""


@final
class SWA(Callback):
    """Averages the weights at regular points from `start` on, and hands the mean over at the end.

    Each point counts the same. The running statistics of batch norm don't fit averaged weights:
    they are measured again, by a pass over training data that leaves position and generators as
    they were. Checkpoints hold the weights of training and, apart from them, the mean: a run that
    is prolonged goes on as if it had never ended. `SaveWeights` and `ExportModel` write the mean at
    the end, where the model has it then.

    Args:
        start: From when on weights are taken, such as `"10 epochs"`.
        every: How often.
        evaluate: Whether evaluations use the mean, once there is one; each may then need a pass
            over training data for batch norm.
        batch_norm_batches: Batches of such a pass at most; None takes all, 0 leaves the
            statistics of training in their place.
        replace: Whether the model has the mean when `fit` returns, completed or stopped.
        models: Names of the models to average; None takes all.

    Raises:
        ConfigurationError: `batch_norm_batches` isn't a count; or, when training starts, another
            callback puts the best weights back at the end.
        DataError: When training starts: batch norm has to be measured, and the data can be passed
            over once only.
        ScheduleError: `start` counts seconds, or isn't a schedule.

    Example:
        >>> SWA(start="75 epochs", every="1 epoch")

    Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018.
    """

    effect = "changes"
    runs_in = ("fit",)

    def __init__(
        self,
        start: Schedule | str,
        *,
        every: Schedule | str = "1 epoch",
        evaluate: bool = True,
        batch_norm_batches: int | None = None,
        replace: bool = True,
        models: Sequence[str] | None = None,
    ) -> None:
        if batch_norm_batches is not None:
            whole_number(batch_norm_batches, "batch_norm_batches")
        self.start = Every.parse(start, option="start")
        self.evaluate = evaluate
        self.batch_norm_batches = batch_norm_batches
        self.replace = replace
        self.models = models
        self.count = 0
        """Sets of weights in the mean."""
        self.every = Every.parse(every, option="every")
        self._after_steps = Due(self.every, STEP_UNITS)
        self._after_epochs = Due(self.every, {"epochs"})
        self._averaged = Averaged(models, buffers=False)
        self._statistics: dict[str, Tensor] = {}
        self._measured_at = 0
        self._taken_at = -1
        self._run: Run | None = None
        self._has_norms = False
        if all(part.is_looked_at == "epochs" for part in self.every.parts):
            self.unused_hooks = frozenset({"on_step_end"})

    # --- taking --------------------------------------------------------------------------------

    def on_optimizers_ready(self, run: Run) -> None:
        self.count = self._measured_at = 0
        self._taken_at = -1
        self._statistics = {}
        self._averaged.bind(run.models)  # refuses names that no model has
        self._has_norms = self.batch_norm_batches != 0 and bool(norms(self._models(run)))
        self._averaged.begin()  # room for what a checkpoint holds, sharded as the weights are

    def on_fit_start(self, run: Run) -> None:
        reached(self.start, run.progress, run.limit)  # refuses seconds before the first step
        if self.replace:
            _check_alone(run)
        is_measured = self.replace or (self.evaluate and run.data.keys() - {"train"})
        if self._has_norms and is_measured:
            run.data["train"].check_aside(
                "batch_norm_batches=0, where the statistics of training will do for the mean"
            )
        self._run = run
        self._begin(run)

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        self._begin(run)

    def _begin(self, run: Run) -> None:
        self._after_steps.start(run.progress, run.limit)
        self._after_epochs.start(run.progress, run.limit)

    def on_step_end(self, run: Run) -> None:
        if self._after_steps.crossed(run.progress):
            self._take(run)

    def on_train_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        # Before the evaluations of the epoch, so that they see it.
        if self._after_epochs.crossed(run.progress):
            self._take(run)

    def _take(self, run: Run) -> None:
        if reached(self.start, run.progress, run.limit) and run.updates_completed != self._taken_at:
            self._taken_at = run.updates_completed
            self.count += 1
            self._averaged.move(1 / self.count)

    # --- using ---------------------------------------------------------------------------------

    def on_evaluation_start(self, run: Run, evaluation: Evaluation) -> None:
        if evaluation.average is None:
            evaluation.exits.enter_context(self.as_evaluated(run))

    @contextmanager
    def averaged(self, run: Run) -> Iterator[None]:
        """Inside, the model's weights are the mean, once there is one; afterwards as before."""
        try:
            if self.count:
                self._put(run)
            yield
        finally:
            self._averaged.undo()

    @contextmanager
    def as_evaluated(self, run: Run) -> Iterator[None]:
        """Inside, the models have what an evaluation sees now: the mean, where it uses it."""
        is_used = self.evaluate and not self._averaged.put_in
        with self.averaged(run) if is_used else nullcontext():
            yield

    def on_fit_end(self, run: Run) -> None:
        if self._ends_with_mean(run):
            self._measure(run)  # there is no data any more when the run closes

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self._run = None
        self._averaged.undo()
        ended = outcome.status in (Status.COMPLETED, Status.STOPPED)
        if self.replace and self.count and ended:
            self._averaged.put(self._fitting)
            self._averaged.keep()

    def weights(self, model: str = "model") -> dict[str, Tensor]:
        """The state of a model with the mean in the place of its weights, to save or load.

        Until there is a mean, it is the state that the model has. While a run is under way, every
        rank has to ask: it may take a pass over training data, for batch norm.

        Args:
            model: Name of the model.

        Returns:
            Copies under the names of `model.state_dict()`, in its dtypes.

        Raises:
            UsageError: There was no run; or batch norm was not measured, and its run is over.
        """
        if self._run is not None:
            self._measure(self._run)
        elif self._is_unmeasured:
            raise UsageError(
                "batch norm was not measured for the mean, and the run with its data is over",
                remedy="`replace=True`, or ask while the run is under way: "
                "`SaveWeights(average='swa')`",
            )
        return self._averaged.state_of(model, self._fitting, live=not self.count)

    def final_weights(self, run: Run, model: str) -> dict[str, Tensor] | None:
        """The state that a model will have when the run is over; None: the one it has."""
        return self.weights(model) if self._ends_with_mean(run) else None

    def _ends_with_mean(self, run: Run) -> bool:
        return self.replace and self.count > 0 and not run.interrupted

    @property
    def _fitting(self) -> dict[str, Tensor]:
        """The statistics that were measured for the mean as it is now."""
        return self._statistics if self._measured_at == self.count else {}

    @property
    def _is_unmeasured(self) -> bool:
        return self._has_norms and self._measured_at != self.count

    def _measure(self, run: Run) -> None:
        """Let the statistics of batch norm be those of the mean."""
        if self._is_unmeasured and not self._averaged.put_in:
            try:
                self._put(run)
            finally:
                self._averaged.undo()

    def _models(self, run: Run) -> dict[str, nn.Module]:
        return {name: run.models[name] for name in self.models or run.models}

    def _put(self, run: Run) -> None:
        models = self._models(run)
        live = statistics(models) if self._has_norms else {}
        is_unmeasured = self._is_unmeasured
        self._averaged.put(live if is_unmeasured else self._fitting)
        if is_unmeasured:
            measure(run, models, self.batch_norm_batches)
            self._statistics = {name: tensor.clone() for name, tensor in live.items()}
            self._measured_at = self.count

    # --- state ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        if not self._averaged.averages:
            return {}
        return {
            "count": self.count,
            "taken_at": self._taken_at,
            "averages": dict(self._averaged.averages),
            "measured_at": self._measured_at,
            "statistics": dict(self._statistics),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        averages = dict[str, Any]
        checked(state, count=int, measured_at=int, averages=averages, statistics=averages)
        self.count, self._measured_at = state["count"], state["measured_at"]
        self._taken_at = state.get("taken_at", -1)  # older checkpoints don't have it
        self._averaged.averages = take_over(self._averaged.averages, state["averages"])
        self._statistics = dict(state["statistics"])


def _check_alone(run: Run) -> None:
    """Refuse another callback that says which weights the models end with."""
    for name, one in run.callbacks.items():
        option = next((o for o in _RESTORING if getattr(one, o, None) is True), None)
        if option is not None:
            raise ConfigurationError(
                f"`SWA` and {name!r} both say which weights the model ends with: the mean, or the "
                "best ones",
                received=f"replace=True and {option}=True",
                remedy=f"`SWA(replace=False)`, or {option}=False",
                option="replace",
            )
