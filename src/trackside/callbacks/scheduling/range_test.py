"""The learning-rate range test: steps with growing rates, after which nothing has changed."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trackside.data.batches import Batch, move
from trackside.data.counting import samples_in
from trackside.distributed.state import is_sharded
from trackside.machine import randomness
from trackside.run import Run
from trackside.step.copies import copied
from trackside.step.output import as_output


def growing(smallest: float, largest: float, steps: int) -> list[float]:
    """`steps` rates from `smallest` to `largest`, each the same factor above the one before."""
    ratio = largest / smallest
    return [smallest * ratio ** (step / (steps - 1)) for step in range(steps)]


def smoothed(values: Sequence[float], smoothing: float) -> list[float]:
    """Moving averages of `values`, as large as these from the first one on.

    Args:
        values: In order.
        smoothing: Share of the past, from 0 up to, and without, 1.
    """
    average, result = 0.0, []
    for number, value in enumerate(values, start=1):
        average = smoothing * average + (1 - smoothing) * value
        result.append(average / (1 - smoothing**number))
    return result


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate at which the loss falls fastest, over the logarithm of the rate.

    What comes after the lowest loss doesn't count. None when the loss never falls.
    """
    if len(rates) < 3:
        return None
    lowest = min(range(len(losses)), key=losses.__getitem__)
    slopes = {
        index: (losses[index + 1] - losses[index - 1])
        / math.log(rates[index + 1] / rates[index - 1])
        for index in range(1, min(lowest, len(rates) - 2) + 1)
    }
    if not slopes:
        return None
    best = min(slopes, key=slopes.__getitem__)
    return rates[best] if slopes[best] < 0 else None


def run_test(
    run: Run, optimizer: Optimizer, rates: Sequence[float], *, smoothing: float, worst: float
) -> list[float]:
    """Train with one rate after another, and put everything back as it was.

    Groups of the optimizer keep the ratio of their rates; the largest one has the rate of the test.

    Args:
        run: Not begun.
        optimizer: The one whose rate is tested; others don't move.
        rates: One for each step.
        smoothing: Of the losses that decide when it ends.
        worst: The test ends when the smoothed loss is this many times the lowest one, if that is
            above 0.

    Returns:
        The loss of each step, over all ranks; fewer than `rates` where it ended early.
    """
    losses: list[float] = []
    shares = shares_of_rates(optimizer.param_groups)
    with (
        as_it_was(run, optimizer),
        run.discarding(),
        randomness.preserved(),
        torch.enable_grad(),
        closing(_batches(run)) as batches,
    ):
        for rate, batch in zip(rates, batches, strict=False):
            for group, share in zip(optimizer.param_groups, shares, strict=True):
                _set_rate(group, rate * share)
            loss = step_of(run, batch, [optimizer], averaged=True)
            losses.append(run.world.all_reduce(loss))
            lately = smoothed(losses, smoothing)
            lowest = min(lately)
            # There is no such multiple of a loss of 0 or below.
            if not math.isfinite(losses[-1]) or (lowest > 0 and lately[-1] > worst * lowest):
                break
    return losses


def shares_of_rates(groups: Sequence[dict[str, Any]]) -> list[float]:
    """The rate of each group of an optimizer as a share of the largest one.

    Where all are 0, at the start of a warm-up, those that a scheduler leads to.
    """
    for name in ("lr", "initial_lr"):
        rates = [float(group.get(name, group["lr"])) for group in groups]
        if largest := max(rates):
            return [rate / largest for rate in rates]
    return [1.0] * len(groups)


def _batches(run: Run) -> Generator[Batch]:
    """Batches of training data, in as many passes as are asked for."""
    found = True
    while found:
        found = False
        with run.data["train"].aside() as batches:
            for batch in batches:
                found = True
                yield batch.data


def step_of(
    run: Run, batch: Batch, optimizers: Iterable[Optimizer], *, averaged: bool = False
) -> float:
    """Forward, backward and update of a batch, past the loop; its mean loss.

    Args:
        run: Set up.
        batch: As a loader gives it.
        optimizers: Those that make an update.
        averaged: Whether gradients are averaged over ranks before it: a collective.
    """
    optimizers = list(optimizers)
    batch = move(batch, run.device)
    run.batch_samples = samples_in(batch)
    with run.precision.autocast or nullcontext():
        loss = as_output(run.steps.training_step(run, batch)).loss
    scaler = run.precision.scaler
    for optimizer in optimizers:
        optimizer.zero_grad()
    run.steps.backward(run, loss if scaler is None else scaler.scale(loss))
    for optimizer in optimizers:
        if averaged:
            _average_gradients(run, optimizer)
        if scaler is None:
            run.steps.optimizer_step(run, optimizer)
        else:
            scaler.step(optimizer)
    if scaler is not None:
        scaler.update()
    return loss.item()


def _average_gradients(run: Run, optimizer: Optimizer) -> None:
    """Over ranks, as the wrapped model does while training; the steps see the one inside it."""
    if run.world.size == 1:
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and not is_sharded(parameter):
                parameter.grad = run.world.all_reduce(parameter.grad)


@contextmanager
def as_it_was(run: Run, *optimizers: Optimizer, on_host: bool = False) -> Iterator[None]:
    """Whatever is trained inside: weights, buffers, optimizers and loss scaler are put back.

    Args:
        run: Set up.
        optimizers: Those that make updates.
        on_host: Whether copies of weights and buffers are kept on the host meanwhile.
    """
    loss = getattr(run.steps, "loss", None)
    modules = [*run.models.values(), *([loss] if isinstance(loss, nn.Module) else [])]
    owners = [(each, dict(each._buffers)) for module in modules for each in module.modules()]
    tensors = [
        tensor.detach()
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    ]
    kept = [tensor.to("cpu", copy=True) if on_host else tensor.clone() for tensor in tensors]
    options = [
        [
            {name: copied(value) for name, value in group.items() if name != "params"}
            for group in optimizer.param_groups
        ]
        for optimizer in optimizers
    ]
    states = [
        {tensor: copied(values) for tensor, values in optimizer.state.items()}
        for optimizer in optimizers
    ]
    scaler = run.precision.scaler
    scale = None if scaler is None else scaler.state_dict()
    try:
        yield
    finally:
        with torch.no_grad():
            for module, own in owners:  # another tensor may stand in a buffer's place
                module._buffers.update(own)
            for tensor, values in zip(tensors, kept, strict=True):
                tensor.copy_(values)
        for optimizer, groups, state in zip(optimizers, options, states, strict=True):
            for group, former in zip(optimizer.param_groups, groups, strict=True):
                for name in group.keys() - former.keys() - {"params"}:
                    del group[name]
                group.update(former)
            # In place: others may hold the groups and the state of this optimizer.
            optimizer.state.clear()
            optimizer.state.update(state)
        for other in run.optimizers.values():
            other.zero_grad()
        if scaler is not None and scale is not None:
            # Memory may have run out within an update: what the scaler knew of it is dropped.
            scaler.scale(torch.ones((), device=run.device))
            scaler.update(scale["scale"])
            scaler.load_state_dict(scale)


def _set_rate(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
