"""A callback that passes over a named data set and collates what it finds, over all ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import zip_longest
from typing import Any, ClassVar

import torch
from torch import nn

from trackside.data.batches import move
from trackside.data.order import PassOrder
from trackside.distributed.buffers import buffers_of_rank_zero
from trackside.errors import UnknownDataError, UsageError
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.lifecycle.roles import ChoosesAverages, EvaluatesAverages
from trackside.run import Evaluation, Run
from trackside.schedule import Schedule
from trackside.step.modes import evaluation_mode
from trackside.step.output import joined

PREDICT = "predict"
"""Name of the data of a prediction."""

_NOBODY = object()


class EvaluationCallback(PeriodicCallback):
    """Passes over a data set whenever it is due, each sample once, whatever the number of ranks.

    A subclass overrides `process_batch` and `process_results`. Training is left as it was: modes of
    modules, generators, position, gradients. `Trainer.evaluate(data, name=...)` passes over its
    data too, where its name is that of this callback's data. The models have the weights that an
    evaluation of the data sees: the averages of an `EMA`, or those that an `Evaluate` names.

    Args:
        data: Name of the data: `val`, `test`, or any key given to `fit(..., data={...})`.
        every: When; None never by itself.

    Raises:
        UnknownDataError: When the run starts: there is no such data.
        UsageError: When the run starts: it is the training data on several ranks, where each has
            parts of batches only.
    """

    keeps_order: ClassVar[bool] = False
    """Whether results stand for samples by their place. The first pass of a run then warns of a
    loader that gives them in another order, or leaves some out."""

    sees_averages: ClassVar[bool] = True
    """Whether a pass sees averages where an evaluation would; else the weights as trained."""

    def __init__(self, data: str = "val", every: Schedule | str | None = "1 epoch") -> None:
        super().__init__(every)
        self.data = data
        self._asks_order = self.keeps_order

    def process_batch(self, run: Run, batch: Any) -> Any:
        """Result of a batch to keep; without gradients, the model in evaluation mode.

        Returns:
            A tensor with samples along its first dimension, a mapping of such tensors, or anything
            JSON-like.
        """

    def process_results(self, run: Run, results: Any) -> None:
        """Everything that was kept, in the order of the data, the same on every rank.

        Args:
            run: The run.
            results: Tensors joined along their first dimension, mappings of them by key, anything
                else as a list over batches.
        """

    def on_fit_start(self, run: Run) -> None:
        super().on_fit_start(run)
        self._asks_order = self.keeps_order
        if self.data not in run.data:
            raise UnknownDataError.among(
                run.data, self.data, f"for {run.callbacks.name_of(self)!r}", option="data"
            )
        if self.data == "train" and run.world.size > 1:
            raise UsageError(
                f"{run.callbacks.name_of(self)!r} can't pass over the training data on "
                f"{run.world.size} ranks: each has parts of batches only",
                remedy="give the same data set to `fit` under another name: data={'again': ...}",
            )

    def on_due(self, run: Run) -> None:
        self.pass_over(run)

    def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
        # Training has a schedule; in `Trainer.evaluate` there is this one occasion.
        if run.mode == "evaluate" and evaluation.name == self.data and self.every is not None:
            self.pass_over(run)

    def pass_over(self, run: Run) -> None:
        """One pass now. Every rank has to call it at the same step."""
        source = run.data[self.data]
        kept: list[Any] = []
        order = PassOrder(source, run.world, aside=True) if self._asks_order else None
        passing = source.aside(remember=self._asks_order)
        self._asks_order = False
        buffers = buffers_of_rank_zero(run.world, run.models)
        weights = weights_of_evaluation(run, self.data) if self.sees_averages else nullcontext()
        with evaluating(run.models), buffers, weights, passing as batches:
            for data, origin in batches:
                if order is not None:
                    order.check_round()
                batch = move(data, run.device)
                if origin.counts:
                    kept.append(move(self.process_batch(run, batch), torch.device("cpu")))
                else:  # the others have a batch left: take part, keep nothing
                    with run.discarding():
                        self.process_batch(run, batch)
        if order is not None:
            order.check_end()
        self.process_results(run, joined(in_order(run, kept, split=source.split.is_split)))


@contextmanager
def evaluating(models: Mapping[str, nn.Module]) -> Iterator[None]:
    """Inside, modules evaluate and nothing records gradients; afterwards modes are as before."""
    with evaluation_mode(models), torch.no_grad():
        yield


@contextmanager
def weights_of_evaluation(run: Run, name: str) -> Iterator[None]:
    """Inside, the models have the weights that an evaluation of that name sees, as in the loop."""
    with ExitStack() as stack:
        if run.evaluation is None:  # inside of one, they are there
            choosing = (one for one in run.callbacks if isinstance(one, ChoosesAverages))
            chosen = next((a for one in choosing if (a := one.average_of(name)) is not None), None)
            if chosen:
                stack.enter_context(run.callbacks[str(chosen)].averaged(run))
            for one in run.callbacks if chosen is None else ():
                if isinstance(one, EvaluatesAverages):
                    stack.enter_context(one.as_evaluated(run))
        yield


def in_order(run: Run, of_batches: list[Any], *, split: bool = False) -> list[Any]:
    """Results of all ranks' batches, in the order of the data; a collective.

    Args:
        run: The run.
        of_batches: Of this rank's batches.
        split: Each rank had its own data: results come rank by rank. Otherwise batches were
            dealt out in turn: the first to rank 0, the second to rank 1, and so on.
    """
    if run.world.size == 1:
        return of_batches
    of_ranks = run.world.gather(of_batches)
    if split:
        return [part for of_rank in of_ranks for part in of_rank]
    rounds = zip_longest(*of_ranks, fillvalue=_NOBODY)
    return [part for turn in rounds for part in turn if part is not _NOBODY]
