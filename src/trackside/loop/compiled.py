"""Steps made of compiled parts, with the hooks between them.

A step is always made of the same parts: forward, loss and backward as one graph, each optimizer's
update as another. Between them stand clipping and the hooks. So neither a listener nor a resume
changes what is computed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from trackside.data.counting import counted
from trackside.data.loaded import LoadedBatch
from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback
from trackside.loop.counting import UNKNOWN, count_tokens, settle
from trackside.loop.fit import prepared
from trackside.loop.leftovers import parameters_of
from trackside.loop.state import TRAIN, Training
from trackside.loop.stepping import begin_step, end_step, take_parts
from trackside.run import Run
from trackside.step.accumulation import Parts
from trackside.step.broadcasting import tell_broadcast
from trackside.step.compiling import CompiledPart
from trackside.step.forms import form_of
from trackside.step.output import Output, as_output, check_loss
from trackside.step.rates import Rates


class CompiledSteps:
    """Takes steps as `train_step` does, of compiled parts."""

    def __init__(self, training: Training) -> None:
        run = training.run

        def note(seconds: float) -> None:
            run.compile_seconds += seconds
            run.compilations += 1

        self._gradients = Gradients(training, note)
        self._updates = {one: CompiledUpdate(one, note) for one in training.setup.optimizers}

    def __call__(
        self, training: Training, batch: LoadedBatch, batches: Iterator[LoadedBatch]
    ) -> None:
        """One optimizer update: `batch`, and as many more of `batches` as are accumulated."""
        begin_step(training)
        take_parts(training, batch, batches, self.take_batch, self._apply)
        end_step(training)

    def take_batch(self, training: Training, loaded: LoadedBatch, parts: Parts | None) -> None:
        """Forward and backward of one batch, as `train_batch`."""
        run, setup, listeners = training.run, training.setup, training.listeners
        batch, (_, samples, _, _, _, _) = loaded
        if not listeners.plain_forward:
            batch = prepared(training, batch, loaded.origin)
        if samples is None:
            samples = counted(batch)
        run.batch_samples = UNKNOWN if samples is None else samples
        returned, gradients = self._gradients(batch)
        output = returned if type(returned) is Output else as_output(returned)
        loss, _, _, weight, said, tokens = output
        if samples is None or said is not None:
            samples = settle(training, setup.sources[TRAIN], batch, samples, said)
        if weight is None:
            weight = samples
        listeners.record_loss((loss, weight))
        if parts is not None:
            factor = parts.scale(torch.ones_like(loss), weight)
            _scale(gradients, factor)
            loss = loss * factor
        if listeners.plain_backward:
            self._gradients.add(gradients)
        else:
            run.output = returned
            training.fire(Callback.on_backward_start, loss)
            self._gradients.add(gradients)
            training.fire(Callback.on_backward_end, loss)
            run.output = None
        run.progress.batches_completed += 1
        run.progress.samples_completed += samples
        if tokens is not None:
            count_tokens(training, tokens)
        if listeners.batch_end:
            setup.events.fire(Callback.on_batch_end, batch, returned)

    def _apply(self, run: Run, optimizer: Optimizer) -> None:
        self._updates[optimizer]()


class Gradients:
    """Output and gradients of a batch: forward, loss and backward as one graph."""

    def __init__(self, training: Training, note: Callable[[float], None]) -> None:
        setup, run = training.setup, training.run
        self._loss = getattr(setup.steps, "loss", None)
        self._is_first = True
        parameters = self._parameters = list(dict.fromkeys(parameters_of(training)))
        training_step, autocast = setup.training_step, setup.precision.autocast

        def forward_and_backward(batch: Any) -> tuple[Any, list[Tensor | None]]:
            if autocast is None:
                returned = training_step(run, batch)
            else:
                with autocast:
                    returned = training_step(run, batch)
            loss = as_output(returned).loss
            wanted = [p for p in parameters if p.requires_grad]
            found = iter(torch.autograd.grad(loss, wanted, allow_unused=True))
            gradients = [next(found) if p.requires_grad else None for p in parameters]
            return tree_map_only(Tensor, Tensor.detach, returned), gradients

        def plain(batch: Any) -> tuple[Any, list[Tensor | None]]:
            try:
                return forward_and_backward(batch)
            except (AttributeError, RuntimeError):
                # What is wrong with the loss is said, where it is the loss.
                with torch.no_grad():
                    check_loss(as_output(training_step(run, batch)).loss)
                raise

        self._part = CompiledPart(
            "the forward and backward pass", forward_and_backward, plain, note
        )

    def __call__(self, batch: Any) -> tuple[Any, list[Tensor | None]]:
        """The step's output, without its graph, and the gradient of each parameter."""
        returned, gradients = self._part(form_of(batch), batch)
        if self._is_first:
            self._is_first = False
            output = as_output(returned)
            tell_broadcast(self._loss, output.prediction, output.target)
        return returned, gradients

    def add(self, gradients: list[Tensor | None]) -> None:
        """Add `gradients` to those that the parameters have."""
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            if gradient is not None:
                if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
                    raise _hooked(parameter)
                if parameter.grad is None:
                    parameter.grad = gradient
                else:
                    parameter.grad += gradient


class CompiledUpdate:
    """The update of one of torch's optimizers as one graph; its state stays where it is."""

    def __init__(self, optimizer: Optimizer, note: Callable[[float], None]) -> None:
        self._optimizer = optimizer
        self._rates = Rates(optimizer, torch.device("cpu"))
        # Its schedulers look whether `step` was called, which this doesn't do.
        optimizer._opt_called = True  # type: ignore[attr-defined]
        self._is_fused = any(group.get("fused") for group in optimizer.param_groups)
        step = inspect.unwrap(type(optimizer).step)

        def apply() -> None:
            step(optimizer)

        name = f"the update by {type(optimizer).__name__}"
        self._part = CompiledPart(name, apply, self._plain, note)

    def __call__(self) -> None:
        """Apply the gradients."""
        if self._is_fused:  # it is one operation already
            self._optimizer.step()
            return
        self._rates.lend()
        try:
            with torch.no_grad():
                self._part(None)
        finally:
            self._rates.take_back()

    def _plain(self) -> None:
        self._rates.take_back()
        self._optimizer.step()


def _scale(gradients: list[Tensor | None], factor: Tensor) -> None:
    torch._foreach_mul_([one for one in gradients if one is not None], factor)


def _hooked(parameter: nn.Parameter) -> UsageError:
    return UsageError(
        f"a parameter of shape {tuple(parameter.shape)} has a hook of torch for its gradient, and "
        "a compiled step doesn't call it",
        expected="a callback with `on_backward_end`",
        remedy="take the hook from the parameter, or leave `step='compiled'` out",
        option="step",
    )
