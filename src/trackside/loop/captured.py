"""Steps as graphs of the device, where nothing stands in their inside; all others as ever.

Both kinds compute the same operations with the same numbers: a step may go either way without a
change of its bits. A graph is recorded when batches of a form have come a few times.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from trackside.data.batches import move
from trackside.data.counting import counted
from trackside.data.loaded import LoadedBatch
from trackside.loop.counting import UNKNOWN, count_tokens, settle
from trackside.loop.fit import prepared, train_batch
from trackside.loop.leftovers import drop_leftovers
from trackside.loop.state import TRAIN, Training
from trackside.loop.stepping import SEEN, begin_step, end_step, take_parts
from trackside.run import Run
from trackside.step import capturing
from trackside.step.forms import form_of
from trackside.step.optimization import drop_gradients
from trackside.step.output import Output, as_output
from trackside.step.rates import Rates

logger = logging.getLogger("trackside")


@dataclass(frozen=True, slots=True)
class Captured:
    """A recorded step."""

    buffers: Any
    """Memory of its batch."""
    output: Output
    """Memory of its loss and weight."""
    replay: Callable[[], None]


class CapturedSteps:
    """Takes steps as `train_step` does, by graphs where that changes nothing."""

    def __init__(self, training: Training) -> None:
        setup, device = training.setup, training.run.device
        self._device = device
        self._rates = {one: Rates(one, device, torch.float32) for one in setup.optimizers}
        self._graphs = capturing.GRAPHS[device.type]()
        self._recorded: dict[Hashable, Captured] = {}
        self._seen: Counter[Hashable] = Counter()
        self._refused: set[Hashable] = set()

    def __call__(
        self, training: Training, batch: LoadedBatch, batches: Iterator[LoadedBatch]
    ) -> None:
        """One optimizer update: `batch`, and as many more of `batches` as are accumulated."""
        begin_step(training)
        recorded = self._graph_of(training, batch)
        if recorded is None:
            take_parts(training, batch, batches, train_batch, self._apply)
        else:
            self._replay(training, batch, recorded)
        end_step(training)

    # --- the eager way -------------------------------------------------------------------------

    def _apply(self, run: Run, optimizer: Optimizer) -> None:
        with self._lent(optimizer):
            optimizer.step()

    @contextmanager
    def _lent(self, *optimizers: Optimizer) -> Iterator[None]:
        """Inside, the learning rates are tensors."""
        try:
            for optimizer in optimizers:
                self._rates[optimizer].lend()
            yield
        finally:
            for optimizer in optimizers:
                self._rates[optimizer].take_back()

    # --- the fast way --------------------------------------------------------------------------

    def _replay(self, training: Training, loaded: LoadedBatch, recorded: Captured) -> None:
        """Take the step, as `train_batch` and the update after it."""
        run, setup = training.run, training.setup
        batch, samples = prepared(training, loaded.data, loaded.origin), loaded.origin.samples
        if samples is None:
            samples = counted(batch)
        run.batch_samples = UNKNOWN if samples is None else samples
        capturing.fill(recorded.buffers, batch)
        with self._lent(*setup.optimizers):
            recorded.replay()
        output = recorded.output
        if samples is None or output.samples is not None:
            samples = settle(training, setup.sources[TRAIN], batch, samples, output.samples)
        # Copies: the next replay writes over the graph's own.
        weight = output.weight.clone() if isinstance(output.weight, Tensor) else output.weight
        loss = (output.loss.clone(), samples if weight is None else weight)
        training.listeners.record_loss(loss)
        run.progress.batches_completed += 1
        run.progress.samples_completed += samples
        if output.tokens is not None:
            count_tokens(training, output.tokens)

    def _graph_of(self, training: Training, loaded: LoadedBatch) -> Captured | None:
        """The graph that takes this step; None where it goes the eager way."""
        run, setup = training.run, training.setup
        if run.accumulate != 1 or run.requests.asked or training.listeners.inside:
            return None
        if not capturing.fits(loaded.data):
            return None
        state = capturing.python_state(setup.modules.values(), setup.optimizers, setup.steps)
        key = None if state is None else (form_of(loaded.data), state)
        if key is None or key in self._refused:
            return None
        if key not in self._recorded:
            self._seen[key] += 1
            if self._seen[key] <= SEEN:
                return None
            self._record(training, loaded, key)
        return self._recorded.get(key)

    def _record(self, training: Training, loaded: LoadedBatch, key: Hashable) -> None:
        """Record a step for batches of this form; where that fails, say so."""
        run, setup = training.run, training.setup
        # Graphs of another state of Python are of no more use, and hold memory.
        self._recorded = {k: one for k, one in self._recorded.items() if k[1] == key[1]}  # type: ignore[index]
        drop_leftovers(training)
        batch = move(loaded.data, self._device)  # not yet taken: `_replay` does that
        buffers = capturing.buffers_for(batch, self._device)
        capturing.fill(buffers, batch)
        generators = capturing.generators_of(setup.modules.values(), self._device)
        try:
            with (
                self._lent(*setup.optimizers),
                _capturable(setup.optimizers),
                _alone(run),
                capturing.draws_nothing_on_the_host(),
            ):
                replay, output = self._graphs.capture(
                    lambda: self._whole(training, buffers), generators
                )
        except Exception as error:
            self._refused.add(key)
            logger.warning(
                "steps can't be recorded, and go on one operation after the other: %s (%s)",
                error,
                capturing.place_in_user_code(error),
            )
        else:
            self._recorded[key] = Captured(buffers, output, replay)
            logger.info("a step was recorded after %d of its form", self._seen[key] - 1)
        finally:
            drop_leftovers(training)

    def _whole(self, training: Training, batch: Any) -> Output:
        """A step without anything in its inside."""
        setup = training.setup
        with setup.precision.autocast or nullcontext():
            output = as_output(setup.training_step(training.run, batch))
        output.loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in setup.optimizers:
            if setup.options.clip is not None:
                setup.options.clip(optimizer)
            optimizer.step()
            drop_gradients(optimizer)
        weight = output.weight.detach() if isinstance(output.weight, Tensor) else output.weight
        return Output(
            output.loss.detach(), weight=weight, samples=output.samples, tokens=output.tokens
        )


@contextmanager
def _capturable(optimizers: Iterable[Optimizer]) -> Iterator[None]:
    """Inside, torch lets fused optimizers be recorded: their numbers are on the device as they are.

    Without `capturable`, Adam and its like refuse it, fused or not.
    """
    groups = [group for one in optimizers for group in one.param_groups]
    lent = [g for g in groups if g.get("fused") and g.get("capturable") is False]
    try:
        for group in lent:
            group["capturable"] = True
        yield
    finally:
        for group in lent:
            group["capturable"] = False


@contextmanager
def _alone(run: Run) -> Iterator[None]:
    """Inside, the step can't read or log what is another thing in each step."""
    progress, log = run.progress, run.metric_log
    run.progress = capturing.NotInGraphs("run.progress")  # type: ignore[assignment]
    run.metric_log = capturing.NotInGraphs("run.log")
    try:
        yield
    finally:
        run.progress, run.metric_log = progress, log
