"""Backward pass and update of a step, with everything that can stand around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import takewhile

from torch import Tensor
from torch.optim import Optimizer

from trackside.distributed.replicas import weigh
from trackside.distributed.words import explained
from trackside.errors import UsageError
from trackside.lifecycle.hooks import Callback
from trackside.loop.leftovers import drop_leftovers
from trackside.loop.state import Training
from trackside.progress import SkippedStep
from trackside.run import Run

_PRECISION = "precision"
"""The name under which a step is skipped whose loss scale was too high."""


def backward(training: Training, loss: Tensor) -> None:
    """Add the gradients of `loss`, with everything that can stand around it."""
    setup = training.setup
    training.fire(Callback.on_backward_start, loss)
    scaler = setup.precision.scaler
    setup.steps.backward(training.run, loss if scaler is None else scaler.scale(loss))
    training.fire(Callback.on_backward_end, loss)


def update(
    training: Training,
    optimizers: Iterable[Optimizer],
    apply: Callable[[Run, Optimizer], None] | None = None,
    *,
    skip: bool = False,
) -> None:
    """Apply and drop the gradients, with everything that can stand around it.

    Args:
        training: The run.
        optimizers: Whose gradients.
        apply: Applies those of one; None: the step of the trainer does.
        skip: Whether they are dropped, whoever else asks for it.
    """
    setup, scaler = training.setup, training.setup.precision.scaler
    apply = apply or setup.steps.optimizer_step
    overflows = []
    for optimizer in optimizers:
        if scaler is not None:
            scaler.unscale_(optimizer)
        if setup.options.clip is not None:
            setup.options.clip(optimizer)
        training.fire(Callback.on_optimizer_step_start, optimizer)
        if not _skips(training) and not skip:
            if scaler is None:
                apply(training.run, optimizer)
            else:
                scaler.step(optimizer)
                overflows.append(setup.precision.count(optimizer))
        training.fire(Callback.on_optimizer_step_end, optimizer)
        training.fire(Callback.on_zero_grad_start, optimizer)
        optimizer.zero_grad()
        training.fire(Callback.on_zero_grad_end, optimizer)
    if scaler is not None:
        scaler.update()
        setup.log.leave_out_where(setup.precision.skipped_on_device)
    _note_skipped(training, overflowed=bool(overflows) and all(overflows))


def _skips(training: Training) -> bool:
    """Whether the step under way is to be dropped: by all ranks, if one of them asks."""
    requests = training.run.requests
    if training.setup.replicas is None or training.listeners.may_skip:
        return requests.agree_on_skip(training.setup.agreement)
    asked = next((one for one in requests.asked if one.kind == "skip_step"), None)
    if asked is not None:
        raise UsageError(
            f"{asked.asked_by!r} asks to skip a step, and the other ranks don't wait for that",
            remedy="set `skips_steps = True` on its class: ranks then agree before each update",
        )
    return False


def _note_skipped(training: Training, *, overflowed: bool) -> None:
    """Note who skipped the step under way, and why; the end of the step records it."""
    run, step = training.run, training.run.progress.steps_completed + 1
    why = [(request.reason, request.who) for request in run.requests.take("skip_step")]
    why += [("gradients are not finite (fp16)", _PRECISION)] * overflowed
    if why:
        run.skipped_steps += [SkippedStep(step, reason, who) for reason, who in why]
        training.position.next_check_step = step


def _is_skipped(training: Training) -> bool:
    """Whether an update of the step under way was dropped on request: further ones are as well."""
    run, step = training.run, training.run.progress.steps_completed + 1
    of_this_step = takewhile(lambda one: one.step == step, reversed(run.skipped_steps))
    return any(one.asked_by != _PRECISION for one in of_this_step)


def optimize(training: Training, loss: Tensor, optimizer: Optimizer) -> None:
    """Backward pass and update in one, for steps that optimize by hand.

    Gradients that a loss leaves on the parameters of other models are dropped: they are neither
    part of their next update nor in any checkpoint.
    """
    replicas = training.setup.replicas
    if replicas is not None:
        weighed, _, _ = weigh(training.run.world, training.position.share, loss)
        with explained(replicas):
            loss = replicas.around(lambda: weighed, begins=False)
    drop_leftovers(training, tell=True)
    backward(training, loss)
    update(training, [optimizer], skip=_is_skipped(training))
    drop_leftovers(training)
