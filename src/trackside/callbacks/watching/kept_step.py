"""A step as it began, kept so that it can be computed a second time."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trackside.data.batches import Batch
from trackside.lifecycle.roles import ChangesGradients
from trackside.machine import randomness
from trackside.models.naming import named_parameters
from trackside.run import Run
from trackside.step.accumulation import Parts
from trackside.step.copies import copied
from trackside.step.optimization import Clip
from trackside.step.output import as_output


class KeptBatch(NamedTuple):
    """One batch of the step, as it went into `training_step`."""

    data: Batch
    """A copy."""
    random: dict[str, Any]
    """Generators before its forward pass."""
    progress: dict[str, Any]
    """Counters before it."""


class Computed(NamedTuple):
    """The results of a second computation of the forward and backward passes."""

    losses: dict[str, Tensor]
    """Of each batch, by its place in the step."""
    gradients: dict[str, Tensor]
    """Of each parameter, as the update gets them."""
    buffers: dict[str, Tensor]


@dataclass
class KeptStep:
    """Copies of all that a step begins with, and of its batches."""

    weights: dict[str, Tensor]
    buffers: dict[str, Tensor]
    state: dict[str, dict[str, Any]]
    """State of each optimizer by name: values by `parameter.key`."""
    batches: list[KeptBatch] = field(default_factory=list)
    losses: dict[str, Tensor] = field(default_factory=dict)
    """The loss of each batch, by its place in the step."""
    samples: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, run: Run) -> KeptStep:
        """Copies of everything as it is now."""
        return cls(
            copied(parameters_of(run)),
            copied(dict(_buffers(run))),
            {name: copied(state_of(run, name)) for name in run.optimizers},
        )

    def begin_batch(self, run: Run, batch: Batch) -> None:
        """Keep a batch that is about to go into the step, and the generators before it."""
        kept = copy.deepcopy(batch)
        self.batches.append(KeptBatch(kept, randomness.capture(), run.progress.state_dict()))

    def end_batch(self, run: Run, output: Any) -> None:
        """Keep the loss of the batch that was computed."""
        self.losses[f"batch {len(self.losses) + 1}"] = as_output(output).loss.detach().clone()
        self.samples.append(run.batch_samples)

    def compute_again(self, run: Run, *, gradients: bool, clip: Clip | None) -> Computed:
        """Forward and backward of all its batches again, on the weights as they are.

        Everything else stands afterwards as before: buffers, gradients, generators, counters.

        Args:
            run: The run, before its update.
            gradients: Whether the backward pass is repeated, too.
            clip: The limit that the trainer has for gradients.
        """
        parameters, losses = parameters_of(run), {}
        with _put_back(run, parameters), run.discarding(), torch.enable_grad():
            for name, buffer in _buffers(run):
                buffer.detach().copy_(self.buffers[name])
            parts = Parts(len(self.batches)) if len(self.batches) > 1 else None
            for number, (kept, samples) in enumerate(
                zip(self.batches, self.samples, strict=True), 1
            ):
                run.progress.load_state_dict(kept.progress)
                randomness.restore(kept.random)
                run.batch_samples = samples
                losses[f"batch {number}"] = self._one(run, kept, samples, parts, gradients)
            if parts is not None and gradients:
                parts.finish(parameters.values())
            if gradients:
                with torch.no_grad():
                    _process(run, clip)
            found = {n: p.grad for n, p in parameters.items() if p.grad is not None}
            return Computed(losses, found, copied(dict(_buffers(run))))

    @staticmethod
    def _one(
        run: Run, kept: KeptBatch, samples: float, parts: Parts | None, gradients: bool
    ) -> Tensor:
        with run.precision.autocast or nullcontext():
            returned = run.steps.training_step(run, copy.deepcopy(kept.data))
        output = as_output(returned)
        loss = output.loss
        if parts is not None:
            loss = parts.scale(loss, samples if output.weight is None else output.weight)
        if gradients:
            run.output = returned
            run.steps.backward(run, loss)
            run.output = None
        return output.loss.detach()


def parameters_of(run: Run) -> dict[str, nn.Parameter]:
    """The parameters of all models, and of the loss where it is a module, by name."""
    loss = getattr(run.steps, "loss", None)
    own = dict(loss.named_parameters(prefix="loss")) if isinstance(loss, nn.Module) else {}
    return {**own, **dict(named_parameters(run.models))}


def _buffers(run: Run) -> Iterator[tuple[str, Tensor]]:
    loss = getattr(run.steps, "loss", None)
    modules = {**({"loss": loss} if isinstance(loss, nn.Module) else {}), **run.models}
    for name, module in modules.items():
        yield from module.named_buffers(prefix=name)


def state_of(run: Run, name: str) -> dict[str, Any]:
    """The state of the optimizer `name`, by name of the parameter and key."""
    names = {id(p): n for n, p in parameters_of(run).items()}
    return {
        f"{names.get(id(parameter), 'a parameter')}.{key}": value
        for parameter, values in run.optimizers[name].state.items()
        for key, value in values.items()
    }


def _process(run: Run, clip: Clip | None) -> None:
    """Change the gradients as the trainer and the callbacks that say so do before an update."""
    for optimizer in run.optimizers.values():
        if clip is not None:
            clip(optimizer)
        for callback in run.callbacks:
            if isinstance(callback, ChangesGradients):
                callback.change_gradients(optimizer)


@contextmanager
def _put_back(run: Run, parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """Buffers, gradients, generators, counters and the output are afterwards as before."""
    gradients = {name: parameter.grad for name, parameter in parameters.items()}
    buffers = [(buffer, buffer.detach().clone()) for _, buffer in _buffers(run)]
    owners = [
        (module, dict(module._buffers))
        for model in run.models.values()
        for module in model.modules()
    ]
    progress, output = run.progress.state_dict(), run.output
    for parameter in parameters.values():
        parameter.grad = None
    try:
        with randomness.preserved():
            yield
    finally:
        for module, own in owners:  # a module may have put another tensor in a buffer's place
            module._buffers.update(own)
        for buffer, values in buffers:
            buffer.detach().copy_(values)
        for name, parameter in parameters.items():
            parameter.grad = gradients[name]
        run.progress.load_state_dict(progress)
        run.output = output


@torch.no_grad()
def update_again(
    optimizer: Optimizer,
    weights: Mapping[nn.Parameter, Tensor],
    gradients: Mapping[Any, Tensor],
    state: Mapping[Tensor, Mapping[str, Any]],
    options: list[dict[str, Any]],
) -> tuple[dict[nn.Parameter, Tensor], dict[Tensor, dict[str, Any]]]:
    """The weights and the state that the optimizer makes of kept ones; nothing else changes.

    Tensors of the run aren't touched: the update works on others in their place.

    Args:
        optimizer: After its update.
        weights: Copies of before the update, by parameter; they become the result.
        gradients: Copies of what the update was given.
        state: Copies of the state before; they become the result.
        options: Of each of its groups, before.
    """
    own_weights = {p: p.data for p in weights}
    own_gradients = {p: p.grad for p in weights}
    own_state = dict(optimizer.state)
    own_options = [dict(group) for group in optimizer.param_groups]
    try:
        for parameter, kept in weights.items():
            parameter.grad = None
            parameter.data = kept
            parameter.grad = gradients.get(parameter)
        optimizer.state.clear()
        optimizer.state.update({p: dict(values) for p, values in state.items()})
        for group, former in zip(optimizer.param_groups, options, strict=True):
            group.update(former)
        optimizer.step()
        return {p: p.data for p in weights}, dict(optimizer.state)
    finally:
        for parameter, data in own_weights.items():
            parameter.grad = None
            parameter.data = data
            parameter.grad = own_gradients[parameter]
        optimizer.state.clear()
        optimizer.state.update(own_state)
        for group, former in zip(optimizer.param_groups, own_options, strict=True):
            group.clear()
            group.update(former)
