"""BatchLimit: shorter epochs and evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from trackside.errors import ConfigurationError, UnknownDataError
from trackside.lifecycle.hooks import Callback
from trackside.progress import whole_number
from trackside.run import Run


@final
class BatchLimit(Callback):
    """Ends each epoch, or each evaluation, after so many batches.

    To try a program out, or to evaluate a large set in part. An epoch that was shortened counts as
    a whole one. With shuffling, each epoch takes other samples. Limits hold for all ranks together.
    Predictions have no limit.

    Args:
        train: Batches of an epoch at most, 1 or more; None takes all.
        evaluation: Batches of every evaluation at most; or by name of the data, such as
            `{"val": 50}`; None takes all.

    Raises:
        ConfigurationError: A limit that isn't a count, none at all, or for data that isn't there.

    Example:
        >>> BatchLimit(train=100, evaluation=10)
    """

    effect = "steers"
    runs_in = ("fit", "evaluate")

    def __init__(
        self, train: int | None = None, evaluation: int | Mapping[str, int] | None = None
    ) -> None:
        self.train = train
        self.evaluation = dict(evaluation) if isinstance(evaluation, Mapping) else evaluation
        limits = evaluation.values() if isinstance(evaluation, Mapping) else [evaluation]
        given = [("train", train), *(("evaluation", limit) for limit in limits)]
        for option, limit in given:
            if limit is not None:
                whole_number(limit, option, at_least=1)
        if all(limit is None for _, limit in given):
            raise ConfigurationError(
                f"train={train}, evaluation={evaluation} limit nothing",
                expected="at least one number of batches, 1 or more",
                option="train" if evaluation is None else "evaluation",
            )

    def on_configure_end(self, run: Run) -> None:
        for name, source in run.data.items():
            limit = self.train if name == "train" else self._evaluation(name)
            if limit is not None:
                source.limit(limit)
        for name in self.evaluation if isinstance(self.evaluation, dict) else ():
            if name not in run.data and run.mode == "fit":
                raise UnknownDataError.among(run.data, name, "to limit", option="evaluation")

    def _evaluation(self, name: str) -> int | None:
        if isinstance(self.evaluation, dict):
            return self.evaluation.get(name)
        return self.evaluation
