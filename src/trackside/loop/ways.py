"""The way in which a run takes its steps: chosen before the first, or refused with the reason."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Literal

from torch.optim import Optimizer, SparseAdam

from trackside.errors import ConfigurationError
from trackside.loop.state import INSIDE, Training
from trackside.loop.stepping import SEEN
from trackside.progress import counted
from trackside.run import Run
from trackside.step import capturing

logger = logging.getLogger("trackside")

StepWay = Literal["eager", "compiled", "captured", "auto"]


def choose(training: Training, asked: StepWay, *, compiles_models: bool) -> None:
    """Let `training` take its steps in the way that is asked for.

    Args:
        training: A run that is put together and not begun.
        asked: As in the settings.
        compiles_models: Whether its models are compiled already.

    Raises:
        ConfigurationError: Its steps can't be taken in that way.
    """
    if asked == "eager":
        return
    run = training.run
    way = way_for(run.device.type, asked)
    reason = next(reasons_against(run, way, compiles_models=compiles_models), None)
    if reason is None and way == "captured":
        from trackside.loop.captured import CapturedSteps  # noqa: PLC0415 - only who asks for it

        training.take_step = CapturedSteps(training)
    elif reason is None:
        from trackside.loop.compiled import CompiledSteps  # noqa: PLC0415 - imports the compiler

        training.take_step = CompiledSteps(training)
    elif asked != "auto":
        raise ConfigurationError(
            f"steps can't be {asked}: {reason}",
            received=f"step={asked!r}",
            remedy="leave `step` out; or take 'auto', which does so where it can be done",
            option="step",
        )
    elif run.world.is_global_zero:
        logger.info("steps are not %s: %s", way, reason)


def let_halve(training: Training, smallest: int, asked: StepWay) -> None:
    """Let `training` halve batches for which memory doesn't suffice.

    Args:
        training: A run that is put together and not begun.
        smallest: The fewest samples of a part.
        asked: The way of its steps, as in the settings.

    Raises:
        ConfigurationError: The batches of this run can't be halved.
    """
    from trackside.loop.halving import (  # noqa: PLC0415 - only who asks for it
        HalvingSteps,
        reasons_against_halving,
    )

    reason = next(reasons_against_halving(training), None)
    if asked != "eager":
        reason = f"step={asked!r} makes graphs of whole batches"
    if reason is not None:
        raise ConfigurationError(
            f"batches can't be halved when memory runs out: {reason}",
            received=f"halve_batches_to={smallest}",
            remedy="leave it out, and take a smaller `batch_size` with `accumulate`; in place of "
            "batch norm, a GroupNorm, or batch norms that were put into evaluation mode; no "
            "callback that is named",
            option="halve_batches_to",
        )
    training.take_step = HalvingSteps(smallest)
    training.halves = True


def way_for(device: str, asked: StepWay) -> Literal["compiled", "captured"]:
    """The fast way that is asked for, on a type of device."""
    if asked == "compiled" or (asked == "auto" and device == "cpu"):
        return "compiled"
    return "captured"


def chosen_way(run: Run, asked: StepWay, *, compiles_models: bool) -> str:
    """How many steps of a run that is set up go which way, and why."""
    total = run.limit.total_steps
    steps = "all steps" if total is None else f"all {total:,} steps"
    if asked == "eager":
        return f"eager, {steps}"
    way = way_for(run.device.type, asked)
    reason = next(reasons_against(run, way, compiles_models=compiles_models), None)
    if reason is not None:
        return f"eager, {steps}: {reason}"
    if way == "compiled":
        return f"compiled, {steps}: callbacks are called between the compiled parts"
    if run.accumulate > 1:
        return f"eager, {steps}: each has {counted(run.accumulate, 'batch')}"
    if heard := _heard_inside(run):
        return f"eager, {steps}: heard in their inside by {', '.join(heard)}"
    return f"captured, {steps} but the first {SEEN} of each shape of batch"


def _heard_inside(run: Run) -> list[str]:
    table = run.callbacks.table()
    hooks = [hook.__name__ for hook in INSIDE]
    return list(dict.fromkeys(name for hook in hooks for name in table.get(hook, ())))


def reasons_against(
    run: Run, way: Literal["compiled", "captured"], *, compiles_models: bool
) -> Iterator[str]:
    """Why steps of this run can't be compiled, or captured, the first reason first."""
    device = run.device.type
    if way == "compiled" and device != "cpu":
        yield f"that is for CPUs, and the device is {run.device}"
    if way == "captured" and device not in capturing.GRAPHS:
        yield f"that is for CUDA, and the device is {run.device}"
    if run.world.size > 1:
        yield "models are spread over several ranks"
    if compiles_models:
        yield "`compile` compiles the models already"
    if run.steps.manual_optimization:
        yield "the trainer optimizes by hand"
    for name in ("backward", "optimizer_step"):
        if not hasattr(getattr(run.steps, name), "default_step"):
            yield f"the trainer has its own `{name}`"
    if run.precision.scaler is not None:
        yield "precision='fp16' decides on the host whether an update is made"
    for optimizer in run.optimizers.values():
        yield from _against_optimizer(optimizer)
        if way == "captured":
            yield from _against_numbers_of(optimizer)
    for scheduling in run.schedulings.values():
        if _moves_momentum(scheduling.scheduler):
            kind = type(scheduling.scheduler).__name__
            yield f"{kind} moves the momentum in each step (cycle_momentum=False leaves it alone)"
    if way == "compiled":
        from trackside.step.compiling import lacks_compiler  # noqa: PLC0415 - imports it

        if (lack := lacks_compiler()) is not None:
            yield lack


def _against_optimizer(optimizer: Optimizer) -> Iterator[str]:
    kind = type(optimizer)
    step = vars(optimizer).get("step")
    if not kind.__module__.startswith("torch.optim.") or isinstance(optimizer, SparseAdam):
        yield f"{kind.__name__} isn't one of torch's optimizers that can be"
    elif step is not None and not hasattr(step, "_wrapped_by_lr_sched"):
        yield f"the `step` of this {kind.__name__} was replaced"
    elif optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        yield f"{kind.__name__} has hooks of torch around its step"


def _against_numbers_of(optimizer: Optimizer) -> Iterator[str]:
    """Whether its numbers are on the host, where a graph would keep them as they were."""
    for group in optimizer.param_groups:
        if not (group.get("fused") or group.get("capturable")):
            kind = type(optimizer).__name__
            options = [f"{name}=True" for name in ("fused", "capturable") if name in group]
            how = f"give it {' or '.join(options)}" if options else "it has no other form"
            yield f"{kind} keeps its numbers on the host ({how})"
            return


def _moves_momentum(scheduler: object) -> bool:
    parts = getattr(scheduler, "_schedulers", ())
    return bool(getattr(scheduler, "cycle_momentum", False)) or any(map(_moves_momentum, parts))
