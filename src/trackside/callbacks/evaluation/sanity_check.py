"""`SanityCheck`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from itertools import islice
from math import nan
from typing import Any, final

import torch

from trackside.data.batches import move
from trackside.data.counting import counted
from trackside.errors import NonFiniteError
from trackside.lifecycle.hooks import Callback
from trackside.progress import whole_number
from trackside.run import Evaluation, Run
from trackside.step.evaluation import evaluating
from trackside.step.output import as_output


@final
class SanityCheck(Callback):
    """Evaluates a few batches of every data set before the first step.

    An error in the evaluation then shows in the first seconds, not after the first epoch. Nothing
    is logged, and training begins as if it had not happened. With `hooks`, callbacks hear of it as
    of any evaluation, flagged by `evaluation.sanity`: what they log or ask for is dropped, and what
    they keep themselves they must leave alone where the flag is set.

    Args:
        batches: How many of each data set.
        hooks: Whether hooks of evaluations fire, in the first epoch before its first step.
            `evaluation.metrics` then hold the loss.

    Raises:
        ConfigurationError: Not a positive number.
        NonFiniteError: When the run starts: a loss is NaN or infinite; names data and batch.

    Example:
        >>> SanityCheck(batches=2)
    """

    effect = "observes"

    def __init__(self, batches: int = 2, *, hooks: bool = False) -> None:
        self.batches = whole_number(batches, "batches", at_least=1)
        self.hooks = hooks
        self._is_due = False

    def on_fit_start(self, run: Run) -> None:
        self._is_due = self.hooks
        if not self.hooks:
            self._check(run)

    def on_epoch_start(self, run: Run) -> None:
        # Not sooner: by now all others have heard that training begins.
        if self._is_due:
            self._is_due = False
            self._check(run)

    def _check(self, run: Run) -> None:
        for name, source in run.data.items():
            if name != "train":
                evaluation = Evaluation(name, sanity=True)
                with evaluation.exits, evaluating(run.models), run.discarding():
                    self._pass_over(run, source, evaluation)

    def _pass_over(self, run: Run, source: Any, evaluation: Evaluation) -> None:
        losses: list[tuple[float, float]] = []
        try:
            self._tell(run, Callback.on_evaluation_start, evaluation)
            with source.aside() as batches:
                for batch in islice(batches, self.batches):
                    losses.append(self._evaluate(run, evaluation, batch))
            total = sum(weight for _, weight in losses)
            mean = sum(loss * weight for loss, weight in losses) / total if total else nan
            evaluation.metrics[f"{evaluation.name}/loss"] = mean
            self._tell(run, Callback.on_evaluation_end, evaluation)
        finally:
            run.evaluation = None

    def _evaluate(self, run: Run, evaluation: Evaluation, loaded: Any) -> tuple[float, float]:
        """Loss and weight of one batch."""
        batch = move(loaded.data, run.device)
        if self.hooks:
            batch = run.callbacks.dispatcher.transform(
                Callback.on_evaluation_batch_start, batch, evaluation
            )
        context = run.callbacks.dispatcher.context("evaluation_context")
        with context if self.hooks else nullcontext(), run.precision.autocast or nullcontext():
            returned = run.steps.evaluation_step(run, batch)
        evaluation.batches_completed += 1
        output = as_output(returned)
        if not torch.isfinite(output.loss).all():
            raise NonFiniteError(
                f"the loss of batch {evaluation.batches_completed} of {evaluation.name!r} is "
                f"{output.loss.item()} before the first step",
                remedy="look at this batch, the loss function and the initial weights",
            )
        self._tell(run, Callback.on_evaluation_batch_end, evaluation, batch, returned)
        samples = counted(batch) if loaded.origin.samples is None else loaded.origin.samples
        weight = samples if output.weight is None else output.weight
        return float(output.loss), float(1 if weight is None else weight)

    def _tell(self, run: Run, hook: Callable[..., Any], *arguments: Any) -> None:
        if self.hooks:
            run.evaluation = arguments[0]
            run.callbacks.dispatcher.fire(hook, *arguments)
