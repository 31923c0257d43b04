"""An evaluation that a loop by hand makes itself, heard by callbacks as every other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from torch import Tensor

from trackside.data.counting import counted
from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback
from trackside.loop.counting import UNKNOWN
from trackside.loop.recording import flush
from trackside.loop.spans import EvaluationSpan
from trackside.loop.state import Training
from trackside.loop.unlogged import report_unlogged
from trackside.run import Evaluation
from trackside.step.evaluation import evaluating
from trackside.step.output import as_output


class HandEvaluation:
    """One evaluation by hand: inside, models evaluate and nothing records gradients.

    Args:
        training: The run.
        name: The name of the data, which stands before the slash of its values.
    """

    def __init__(self, training: Training, name: str) -> None:
        self._training = training
        self.evaluation = Evaluation(name)
        """The evaluation as callbacks see it; its `metrics` are filled when the block ends."""
        self._span = EvaluationSpan(training, self.evaluation)
        self._stack = ExitStack()
        self._batch: Any = None
        self._samples: int | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """Final values by full name, once the block has ended."""
        return self.evaluation.metrics

    def __enter__(self) -> Self:
        if self._training.run.evaluation is not None:
            raise UsageError("an evaluation is under way", expected="one at a time")
        with ExitStack() as stack:
            stack.enter_context(evaluating(self._training.setup.modules))
            stack.callback(self._forget)
            stack.enter_context(self.evaluation.exits)
            stack.enter_context(self._span)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            try:
                self._finish()
            except BaseException as own:
                self._stack.__exit__(type(own), own, own.__traceback__)
                raise
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            self._training.position.epoch_metrics.update(self.evaluation.metrics)
            flush(self._training)
            report_unlogged(self._training, self.evaluation.name)

    def batches(self, data: Iterable[Any]) -> Iterator[Any]:
        """The batches of `data`, as the loader gives them and callbacks want them."""
        events = self._training.setup.events
        for given in data:
            self._check_reported()
            self._samples = counted(given)
            samples = UNKNOWN if self._samples is None else self._samples
            self._training.run.batch_samples = samples
            hook = Callback.on_evaluation_batch_start
            self._batch = (events.transform(hook, given, self.evaluation),)
            yield self._batch[0]
        self._check_reported()

    def batch_done(self, returned: Any, **values: Tensor | float) -> None:
        """The batch is evaluated.

        Args:
            returned: Its loss, the mean over its samples, or an `Output`.
            values: More means of the batch: `accuracy=...` is recorded as `val/accuracy`.
        """
        if self._batch is None:
            raise UsageError(
                "a batch of an evaluation was reported as done, and none was taken",
                remedy="take them in the block: `for batch in evaluation.batches(loader)`",
            )
        (batch,), self._batch = self._batch, None
        training, evaluation, output = self._training, self.evaluation, as_output(returned)
        samples = self._samples if output.samples is None else output.samples
        if samples is None:
            raise UsageError(
                f"nobody says how many samples a batch of {evaluation.name!r} has",
                remedy="say it: `evaluation.batch_done(Output(loss, samples=n))`",
            )
        weight = samples if output.weight is None else output.weight
        training.setup.log.settle(samples)
        training.setup.log.add(f"{evaluation.name}/loss", output.loss, weight)
        for name, value in values.items():
            training.setup.log.add(f"{evaluation.name}/{name}", value, samples)
        evaluation.batches_completed += 1
        evaluation.samples_completed += samples
        training.fire(Callback.on_evaluation_batch_end, evaluation, batch, returned)

    def _check_reported(self) -> None:
        if self._batch is not None:
            raise UsageError(
                "a batch of an evaluation was taken, and not reported as done",
                expected="`evaluation.batch_done(loss)` for each batch",
            )

    def _finish(self) -> None:
        name = self.evaluation.name
        self._check_reported()
        if self.evaluation.batches_completed == 0:
            raise UsageError(
                f"the evaluation of {name!r} had no batch",
                remedy="take them in the block: `for batch in evaluation.batches(loader)`",
            )
        self.evaluation.metrics.update(self._training.setup.log.end_evaluation())

    def _forget(self) -> None:
        if self._training.run.evaluation is not None:  # an error left it
            self._training.setup.log.abandon_evaluation()
            self._training.run.evaluation = None
