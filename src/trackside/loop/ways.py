"""The way in which a run takes its steps: chosen before the first, or refused with the reason."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Literal

from torch.optim import Optimizer, SparseAdam

from trackside.errors import ConfigurationError
from trackside.loop.state import Training
from trackside.run import Run

logger = logging.getLogger("trackside")

StepWay = Literal["eager", "compiled", "auto"]


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
    reason = next(reasons_against(run, compiles_models=compiles_models), None)
    if reason is None:
        from trackside.loop.compiled import CompiledSteps  # noqa: PLC0415 - imports the compiler

        training.take_step = CompiledSteps(training)
    elif asked == "compiled":
        raise ConfigurationError(
            f"steps can't be compiled: {reason}",
            received=f"step={asked!r}",
            remedy="leave `step` out; or take 'auto', which compiles where that can be done",
            option="step",
        )
    elif run.world.is_global_zero:
        logger.info("steps are not compiled: %s", reason)


def chosen_way(run: Run, asked: StepWay, *, compiles_models: bool) -> str:
    """How many steps of a run that is set up go which way, and why."""
    total = run.limit.total_steps
    steps = "all steps" if total is None else f"all {total:,} steps"
    if asked == "eager":
        return f"eager, {steps}"
    reason = next(reasons_against(run, compiles_models=compiles_models), None)
    if reason is not None:
        return f"eager, {steps}: {reason}"
    return f"compiled, {steps}: callbacks are called between the compiled parts"


def reasons_against(run: Run, *, compiles_models: bool) -> Iterator[str]:
    """Why steps of this run can't be compiled, the first reason first."""
    if run.device.type != "cpu":
        yield f"that is for CPUs, and the device is {run.device}"
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
        yield "precision='fp16' scales losses on the host"
    for optimizer in run.optimizers.values():
        yield from _against_optimizer(optimizer)
    for scheduling in run.schedulings.values():
        if _moves_momentum(scheduling.scheduler):
            kind = type(scheduling.scheduler).__name__
            yield f"{kind} moves the momentum in each step (cycle_momentum=False leaves it alone)"
    from trackside.step.compiling import lacks_compiler  # noqa: PLC0415 - imports the compiler

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


def _moves_momentum(scheduler: object) -> bool:
    parts = getattr(scheduler, "_schedulers", ())
    return bool(getattr(scheduler, "cycle_momentum", False)) or any(map(_moves_momentum, parts))
