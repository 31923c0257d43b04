"""Steps whose batches go through the model in parts, half as large whenever memory ran out.

A batch stays one batch for hooks, counters and records: they hear of it once, when it has gone
through as a whole. An attempt that failed leaves nothing behind.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trackside.data.counting import counted
from trackside.data.loaded import LoadedBatch, Origin
from trackside.data.pieces import Piece, pieces_of
from trackside.data.shares import samples_of_all
from trackside.distributed.averaging import average_gradients
from trackside.distributed.buffers import buffers_of, take_from_rank_zero
from trackside.errors import DataError, UsageError
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.roles import LooksIntoBackward
from trackside.loop.counting import UNKNOWN, count_tokens, settle
from trackside.loop.fit import accumulate, prepared
from trackside.loop.leftovers import parameters_of
from trackside.loop.recording import record
from trackside.loop.state import TRAIN, Training
from trackside.loop.stepping import begin_step, end_step
from trackside.loop.update import update
from trackside.machine.accelerator import empty_cache
from trackside.progress import Halving
from trackside.step.accumulation import Parts
from trackside.step.halving import (
    Before,
    Done,
    add_gradients,
    as_one,
    scale_gradients,
    without_graph,
)
from trackside.step.optimization import drop_gradients
from trackside.step.output import as_output, check_loss

logger = logging.getLogger("trackside")


class _Failed(NamedTuple):
    """An attempt for which memory didn't suffice."""

    samples: int
    """The most samples to try next."""
    reason: str


class HalvingSteps:
    """Takes steps as `train_step` does, in smaller parts from the first that ran out of memory on.

    Args:
        smallest: The fewest samples to which a part is halved.
    """

    def __init__(self, smallest: int) -> None:
        self._smallest = smallest

    def __call__(
        self, training: Training, batch: LoadedBatch, batches: Iterator[LoadedBatch]
    ) -> None:
        """One optimizer update: `batch`, and as many more of `batches` as are accumulated."""
        run, setup = training.run, training.setup
        halvings = len(run.halvings)
        begin_step(training)
        if setup.replicas is not None:
            self._take_on_ranks(training, batch, batches)
        elif run.accumulate == 1:
            self._take(training, batch, None)
        else:
            accumulate(training, batch, batches, self._take)
        if training.listeners.plain_update and not run.requests.asked:
            for optimizer in setup.optimizers:
                optimizer.step()
                drop_gradients(optimizer)
        else:
            update(training, setup.optimizers)
        end_step(training)
        if len(run.halvings) > halvings:
            record(training, {"train/part_samples": float(run.halvings[-1].samples)})

    def _take_on_ranks(
        self, training: Training, batch: LoadedBatch, batches: Iterator[LoadedBatch]
    ) -> None:
        """The batches of a step; gradients are averaged over ranks at its end, not meanwhile."""
        run, replicas = training.run, training.setup.replicas
        assert replicas is not None, "asked on several ranks only"
        replicas.check_flags()
        if not replicas.strategy.keeps_buffers:
            take_from_rank_zero(run.world, buffers_of(training.setup.modules.values()))
        training.setup.log.begin_step()
        fetched = [batch, *islice(batches, run.accumulate - 1)]
        parts = Parts(len(fetched))
        for each in fetched:
            self._take(training, each, parts)
        parts.finish(parameters_of(training))
        models = replicas.own.values()
        average_gradients(run.world, [p for model in models for p in model.parameters()])

    def _take(self, training: Training, loaded: LoadedBatch, parts: Parts | None) -> None:
        """Forward and backward of one batch, as `train_batch`; in as many attempts as it takes."""
        run, setup, listeners = training.run, training.setup, training.listeners
        origin = loaded.origin
        batch = prepared(training, loaded.data, origin)
        attempts = _Batch(training, batch, origin, parts, self._smallest)
        done, made = attempts.until_it_fits()
        returned, output, weight = done
        if origin.share is not None and origin.share.samples == 0:
            weight = 0  # a filler
        samples = attempts.samples
        if samples is None or (output.samples is not None and origin.share is None):
            samples = settle(training, setup.sources[TRAIN], batch, samples, output.samples)
        run.batch_samples = samples
        listeners.record_loss((output.loss.detach(), weight))
        if listeners.plain_backward:
            add_gradients(made)
        else:
            run.output = returned
            training.fire(Callback.on_backward_start, output.loss)
            add_gradients(made)
            training.fire(Callback.on_backward_end, output.loss)
            run.output = None
        run.progress.batches_completed += 1
        if setup.replicas is not None:
            samples = samples_of_all(run.world, origin, samples, output.samples)
        run.progress.samples_completed += samples
        if output.tokens is not None:
            count_tokens(training, output.tokens, origin.share)
        if listeners.batch_end:
            setup.events.fire(Callback.on_batch_end, batch, returned)


class _Batch:
    """One batch, and the attempts to compute its gradients."""

    def __init__(
        self, training: Training, batch: Any, origin: Origin, parts: Parts | None, smallest: int
    ) -> None:
        self._training = training
        self._batch = batch
        self._origin = origin
        self._parts = parts
        self._smallest = smallest
        self._there = counted(batch)
        """Samples in it, also those of a filler, which count nothing."""
        self.samples = self._there if origin.samples is None else origin.samples

    def until_it_fits(self) -> tuple[Done, dict[nn.Parameter, Tensor]]:
        """The batch as one, and its gradients, in as small parts as memory needs."""
        training, run = self._training, self._training.run
        setup = training.setup
        before = Before(setup.modules.values(), parameters_of(training), setup.log)
        mark = None if self._parts is None else self._parts.mark()
        asked = run.requests.mark()
        while True:
            found = self._attempt()
            failed = self._agreed(found)
            if failed is None:
                assert isinstance(found, Done)
                return self._weighed(found, before)
            del found  # what it holds is memory for the next attempt
            run.output = None
            before.put_back()
            run.requests.back_to(asked)
            if self._parts is not None and mark is not None:
                self._parts.back_to(mark)
            self._note(failed)

    def _attempt(self) -> Done | _Failed:
        """Forward and backward of all parts; gradients are on the parameters."""
        try:
            return self._compute(self._pieces())
        except torch.OutOfMemoryError as error:
            refused = self._reason_against()
            if refused is not None:
                error.add_note(f"batches are not halved: {refused}")
                raise
            return _Failed(self._half(), str(error))

    def _pieces(self) -> list[Piece]:
        halvings, there = self._training.run.halvings, self._there
        if not halvings or there is None or there <= halvings[-1].samples:
            return [Piece(self._batch, there or 0)]
        if norms := batch_norms(self._training.setup.modules.values()):
            raise UsageError(
                f"batches can't go on in parts of {halvings[-1].samples} samples",
                received=_words_on(norms),
                remedy="leave it in evaluation mode, or take a smaller `batch_size`",
                option="halve_batches_to",
            )
        return pieces_of(self._batch, there, halvings[-1].samples)

    def _at_once(self) -> int:
        """Samples of the largest part of this batch."""
        assert self._there is not None, "asked where it can be cut"
        halvings, there = self._training.run.halvings, self._there
        number = -(-there // halvings[-1].samples) if halvings else 1
        return -(-there // number)

    def _half(self) -> int:
        return max(self._smallest, -(-self._at_once() // 2))

    def _counted(self) -> float:
        return UNKNOWN if self.samples is None else self.samples

    def _reason_against(self) -> str | None:
        """Why the parts of this batch can't be smaller, or None."""
        if self._there is None:
            return "nobody says how many samples the batch has"
        if self._at_once() <= self._smallest:
            return f"{self._at_once()} at once is the smallest that is allowed"
        norms = batch_norms(self._training.setup.modules.values())
        if norms:
            return _words_on(norms)
        try:
            pieces_of(self._batch, self._there, self._half())
        except DataError as error:
            return str(error)
        return None

    def _compute(self, pieces: list[Piece]) -> Done:
        training, run, setup = self._training, self._training.run, self._training.setup
        inner = Parts(len(pieces)) if len(pieces) > 1 else None
        done = []
        for piece, size in pieces:
            run.batch_samples = self._counted() if inner is None else size
            with setup.precision.autocast or nullcontext():
                returned = setup.training_step(run, piece)
            output = as_output(returned)
            loss, weight = output.loss, output.weight
            try:
                if weight is None:
                    weight = self._weight_of(output.samples, None if inner is None else size)
                if inner is not None:
                    loss = inner.scale(loss, weight)
                elif self._parts is not None and setup.replicas is None:
                    loss = self._parts.scale(loss, weight)
                check_loss(loss)
                _backward(training, loss, returned)
            except (AttributeError, RuntimeError) as error:
                if not isinstance(error, torch.OutOfMemoryError):
                    check_loss(output.loss)  # says what is wrong with the loss, where it is that
                raise
            if inner is not None:
                returned, output = without_graph(returned), without_graph(output)
            done.append(Done(returned, output, weight))
        if inner is not None:
            inner.finish(parameters_of(training))
        whole = as_one(done)
        if inner is not None and whole.output.weight is None:
            # Among the batches of the step it weighs as much as in one piece.
            whole = whole._replace(weight=self._own_weight(whole.output.samples))
        return whole

    def _weight_of(self, said: Any, part: int | None) -> float:
        """The weight where the step says none: of a part of `part` samples, or of the batch."""
        if part is None:
            return self._own_weight(said)
        return part if said is None or self._origin.share is not None else said

    def _own_weight(self, said: object) -> float:
        """The weight of a batch in one piece, whose step says none."""
        if self.samples is not None and (said is None or self._origin.share is not None):
            return self.samples
        training = self._training
        source = training.setup.sources[TRAIN]
        return settle(training, source, self._batch, self.samples, said)

    # --- several ranks, and several batches ----------------------------------------------------

    def _agreed(self, found: Done | _Failed) -> _Failed | None:
        """The failure that all ranks try again for, or None; a collective on several."""
        world = self._training.run.world
        mine = found if isinstance(found, _Failed) else None
        if world.size == 1:
            return mine
        asked: list[tuple[int, str] | None] = world.gather(
            None if mine is None else (mine.samples, mine.reason)
        )
        failures = [_Failed(*one) for one in asked if one is not None]
        if not failures:
            return None
        return _Failed(min(one.samples for one in failures), failures[0].reason)

    def _weighed(self, done: Done, before: Before) -> tuple[Done, dict[nn.Parameter, Tensor]]:
        """The gradients, weighed among the batches of the step and the ranks."""
        made = before.made()
        run, parts = self._training.run, self._parts
        loss = done.output.loss
        one = torch.ones((), dtype=loss.dtype, device=loss.device)
        if run.world.size > 1:
            assert parts is not None, "there on several ranks"
            factor, total = self._among_ranks(done)
            scale_gradients(made, parts.scale(one, total) * factor)
        elif parts is not None and len(self._pieces()) > 1:
            scale_gradients(made, parts.scale(one, done.weight))
        return done, made

    def _among_ranks(self, done: Done) -> tuple[float, float]:
        """The factor of this rank in the mean over ranks, and the weight of all; as in `weigh`."""
        world, share = self._training.run.world, self._origin.share
        if done.output.weight is None:
            return (1.0, 1.0) if share is None else (share.factor, float(share.total))
        mine = 0.0 if share is not None and share.samples == 0 else float(done.output.weight)
        total = world.all_reduce(mine, "sum")
        return (mine * world.size / total if total else 0.0), total

    def _note(self, failed: _Failed) -> None:
        """Keep what is to be tried next, and say so."""
        run = self._training.run
        step = run.progress.steps_completed + 1
        run.halvings.append(Halving(step, failed.samples, failed.reason.split("\n")[0][:300]))
        gc.collect()  # cycles may hold activations of the attempt
        empty_cache(run.device)
        if run.world.is_global_zero:
            logger.warning(
                "memory ran out in step %d: from now on batches go through the model in parts of "
                "at most %d samples, whose gradients are accumulated (%s)",
                step,
                failed.samples,
                run.halvings[-1].reason,
            )


def _backward(training: Training, loss: Tensor, returned: Any) -> None:
    if training.listeners.plain_backward:
        loss.backward()  # type: ignore[no-untyped-call]
        return
    scaler = training.setup.precision.scaler
    training.run.output = returned
    training.setup.steps.backward(training.run, loss if scaler is None else scaler.scale(loss))
    training.run.output = None


def batch_norms(modules: Iterable[nn.Module], *, begun: bool = True) -> list[str]:
    """Names of layers that compute statistics over the samples that go through at once.

    Args:
        modules: Models, and the loss where it is a module.
        begun: Whether training has begun; before, a model that stands in evaluation mode as a whole
            is still to be put into training mode.
    """
    return [
        name or type(module).__name__
        for one in modules
        for name, module in one.named_modules()
        if isinstance(module, _BatchNorm)
        and (module.training or not (begun or one.training) or _has_no_statistics(module))
    ]


def _has_no_statistics(norm: _BatchNorm) -> bool:
    """Whether it computes those of its samples in evaluation mode as well."""
    return norm.running_mean is None and norm.running_var is None


def reasons_against_halving(training: Training) -> Iterator[str]:
    """Why batches of a run that isn't begun can't be halved, the first reason first."""
    setup = training.setup
    if setup.steps.manual_optimization:
        yield "the trainer optimizes by hand"
    if setup.replicas is not None and setup.replicas.strategy.forward_is_collective:
        yield "a rank that runs out of memory would leave the others waiting for its shards"
    if norms := batch_norms(setup.modules.values(), begun=False):
        yield _words_on(norms)
    for name, one in training.run.callbacks.items():
        if isinstance(one, LooksIntoBackward) and (
            one.looks_into_backward == "always" or setup.replicas is not None
        ):
            yield f"the callback {name!r} looks into the backward pass of whole batches"


def _words_on(norms: list[str]) -> str:
    more = f" and {len(norms) - 1} more" if len(norms) > 1 else ""
    return (
        f"{norms[0]}{more} is a batch norm in training mode, whose statistics of a part aren't "
        "those of the whole batch"
    )
