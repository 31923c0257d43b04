"""The spans of a run: where each begins, what its end records, and who hears of both.

`fit.py`, `evaluate.py` and `predict.py` say what happens inside. A span that an error leaves has no
end: `on_exception` and `on_close` follow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from trackside.lifecycle.hooks import Callback
from trackside.loop.agreed_metrics import changes
from trackside.loop.recording import epoch_means, flush, measured, record
from trackside.loop.state import Ended, Training
from trackside.run import Evaluation


class Span(ABC):
    """A span; a class and no generator, since a hook may raise anything, StopIteration too.

    Args:
        training: The run.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        self.ended = Ended.DATA
        """How it ends; whoever is inside says so where it is another way."""

    @abstractmethod
    def begin(self) -> None:
        """Fire the hook of its start."""

    @abstractmethod
    def end(self) -> None:
        """Fire the hook of its end."""

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.end()


class FitSpan(Span):
    """Training, from its first safe point to the last."""

    def begin(self) -> None:
        """See `Span`."""
        self.training.fire(Callback.on_fit_start)

    def end(self) -> None:
        """See `Span`."""
        self.training.fire(Callback.on_fit_end)
        flush(self.training)


class EpochSpan(Span):
    """One pass over the training data, and the evaluations that are due after it."""

    def begin(self) -> None:
        """See `Span`."""
        self.training.fire(Callback.on_epoch_start)

    def end(self) -> None:
        """See `Span`."""
        if self.ended is Ended.OPEN:
            return
        metrics = dict(self.training.position.epoch_metrics)
        if self.ended is Ended.ROLLBACK:  # its end comes when it has been trained again
            with self.training.run.discarding():
                self.training.fire(Callback.on_epoch_end, metrics)
            return
        self.training.fire(Callback.on_epoch_end, metrics)
        flush(self.training)


class TrainEpochSpan(Span):
    """The steps of an epoch."""

    def begin(self) -> None:
        """See `Span`."""
        self.training.fire(Callback.on_train_epoch_start)

    def end(self) -> None:
        """See `Span`."""
        training, log = self.training, self.training.setup.log
        if self.ended is Ended.ROLLBACK:  # what these steps have logged is dropped with them
            with training.run.discarding():
                training.fire(Callback.on_train_epoch_end, log.epoch())
            return
        training.run.progress.epochs_completed += self.ended is Ended.DATA
        training.position.left_at = training.run.progress.steps_completed
        means = epoch_means(training)
        record(training, {**means, **log.recent(), **measured(training)})
        training.fire(Callback.on_train_epoch_end, means)
        flush(training)


class EvaluationSpan(Span):
    """One evaluation; one that is stopped has no end, and what it has logged is dropped.

    Args:
        training: The run.
        evaluation: Its metrics are final when the span ends.
    """

    def __init__(self, training: Training, evaluation: Evaluation) -> None:
        super().__init__(training)
        self._evaluation = evaluation

    def begin(self) -> None:
        """See `Span`."""
        self.training.run.evaluation = self._evaluation
        self.training.setup.log.begin_evaluation(self._evaluation.name)
        self.training.fire(Callback.on_evaluation_start, self._evaluation)

    def end(self) -> None:
        """See `Span`."""
        if self.ended is Ended.STOP:
            self.training.setup.log.abandon_evaluation()
            return
        log, evaluation = self.training.setup.log, self._evaluation
        recorded = dict(evaluation.metrics)
        record(self.training, recorded)
        # What is logged at its end, or put into its metrics, is part of it: it is recorded as well.
        log.begin_evaluation(evaluation.name)
        self.training.fire(Callback.on_evaluation_end, evaluation)
        evaluation.metrics.update(log.close_evaluation())
        self.training.run.evaluation = None
        late = changes(self.training.run.world, recorded, evaluation.metrics)
        evaluation.metrics.update(late)
        record(self.training, late)


class PredictSpan(Span):
    """One prediction."""

    def begin(self) -> None:
        """See `Span`."""
        self.training.fire(Callback.on_predict_start)

    def end(self) -> None:
        """See `Span`."""
        self.training.fire(Callback.on_predict_end)
