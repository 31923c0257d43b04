"""The parts that a trainer is made of: what can't be one is refused when the trainer is made."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from trackside.distributed.strategies import check_known
from trackside.errors import ConfigurationError, OptimizerError, shortened
from trackside.planning.checks import check_trainer_declarations
from trackside.step.optimization import Clip, Scheduler
from trackside.vocabulary.objects import place_of

_KINDS = {
    "model": "a module, or a function that makes one",
    "loss": "a function of prediction and target",
    "optimizer": "a function of the parameters, or an optimizer",
    "scheduler": "a function of the optimizer, a `Scheduler`, or a mapping of these by optimizer",
}


_LEAST_SEED, _SEEDS_END = -(2**63), 2**64
"""torch takes those from the first on, below the second."""


def check_parts(trainer: Any) -> None:
    """Refuse parts that can't be used.

    Raises:
        ConfigurationError: Says which, and what is meant.
        DeclarationError: It declares what only a callback can.
    """
    check_trainer_declarations(trainer)
    _check_modes(trainer)
    _check_loss(trainer.loss)
    _check_model(trainer.model)
    _check_scheduler(trainer.scheduler)
    if trainer.seed is not None and not _LEAST_SEED <= trainer.seed < _SEEDS_END:
        raise ConfigurationError(
            f"seed={trainer.seed} can't be used", expected="64 bits: below 2**64", option="seed"
        )
    check_known(trainer.settings.strategy)
    for name, expected in _KINDS.items():
        part = getattr(trainer, name)
        if part is None or callable(part) or isinstance(part, (Optimizer, Scheduler)):
            continue
        if name == "scheduler" and isinstance(part, Mapping):
            continue
        raise ConfigurationError(
            f"{name}={shortened(part)} can't be used",
            expected=expected,
            received=type(part).__name__,
            remedy=_way(name, part),
            option=name,
        )
    if not isinstance(trainer.clip, Clip | None):
        raise ConfigurationError(
            f"clip={trainer.clip!r} is not a limit",
            expected="a number, or Clip(norm=...)",
            option="clip",
        )


def _check_modes(trainer: Any) -> None:
    """Refuse options that would have no effect beside what the trainer's class does itself."""
    if trainer.manual_optimization and trainer.accumulate != 1:
        raise ConfigurationError(
            f"accumulate={trainer.accumulate} has no effect: `manual_optimization` is set, and "
            "each call of `optimize` makes an update",
            remedy="sum the losses of several batches in `training_step`, and call `optimize` then",
            option="accumulate",
        )
    own = not hasattr(trainer.optimizer_step, "default_step")
    if own and trainer.precision == "fp16":
        raise ConfigurationError(
            f"`{type(trainer).__name__}.optimizer_step` would not be called: with fp16, the loss "
            "scaler makes the updates",
            expected="precision='bf16' or 'fp32' beside an `optimizer_step` of its own",
            received="precision='fp16'",
            remedy="use bf16, or move it into the `step` of an optimizer",
            option="precision",
        )


def _way(name: str, part: object) -> str | None:
    """How something that can't be a part is given."""
    if isinstance(part, str):
        return _named(name, part)
    if name == "model" and isinstance(part, Iterable):
        return (
            "several models: override `configure_model`, which returns them by name, and "
            "`training_step`, in a subclass of `Trainer`"
        )
    return place_of(part)


def _named(name: str, part: str) -> str | None:
    """Classes are given here, not their names; these are for configuration files."""
    if name == "optimizer":
        kind = _spelt(part, torch.optim)
        return f"`optimizer=lambda parameters: torch.optim.{kind}(parameters, lr=1e-3)`"
    if name == "scheduler":
        kind = _spelt(part, torch.optim.lr_scheduler)
        return f"`scheduler=lambda optimizer: torch.optim.lr_scheduler.{kind}(optimizer, ...)`"
    return "`loss=nn.CrossEntropyLoss()`, for example" if name == "loss" else None


def _spelt(word: str, module: ModuleType) -> str:
    """The class of `module` that `word` stands for, where there is one: `AdamW` for `adamw`."""
    by_small_letters = {name.lower(): name for name in vars(module) if not name.islower()}
    return by_small_letters.get(word.lower().replace("_", ""), word)


def _check_loss(loss: object) -> None:
    if isinstance(loss, type) and issubclass(loss, nn.Module):
        raise ConfigurationError(
            "the loss is a class, not a function of prediction and target",
            received=f"the class {loss.__name__}",
            remedy=f"make an instance: `loss={loss.__name__}()`",
            option="loss",
        )


def _check_model(model: object) -> None:
    """A function that makes the model takes no arguments: so does a class that stands for one."""
    if model is None or isinstance(model, nn.Module) or not callable(model):
        return
    needed = _needed_by(model)
    if needed:
        name = getattr(model, "__name__", type(model).__name__)
        what = "class" if isinstance(model, type) else "function"
        raise ConfigurationError(
            f"the model is the {what} `{name}`, which needs {', '.join(map(repr, needed))}",
            expected=_KINDS["model"],
            remedy=f"make it: `{name}(...)`, or later and seeded: `lambda: {name}(...)`",
            option="model",
        )


def _needed_by(call: Callable[..., Any]) -> list[str]:
    """Parameters that a call without arguments would lack."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):  # written in C: it isn't known
        return []
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in free]


def _check_scheduler(scheduler: object) -> None:
    if isinstance(scheduler, LRScheduler):
        name = type(scheduler).__name__
        raise ConfigurationError(
            f"scheduler={name}(...) belongs to an optimizer already",
            expected=_KINDS["scheduler"],
            received=f"a {name} object",
            remedy=f"`scheduler=lambda optimizer: {name}(optimizer, ...)`",
            option="scheduler",
        )
    if isinstance(scheduler, Iterable) and not isinstance(scheduler, (str, Mapping)):
        raise ConfigurationError(
            "an optimizer has one scheduler",
            expected=_KINDS["scheduler"],
            received=type(scheduler).__name__,
            remedy="several in turn: `lambda optimizer: SequentialLR(optimizer, [...], [...])`; "
            "several at once: `ChainedScheduler([...])`",
            option="scheduler",
        )


def models_by_name(made: Any) -> dict[str, nn.Module]:
    """The models by name; a single one is called `model`.

    Raises:
        ConfigurationError: One is not a module, or has parameters without a shape.
    """
    by_name = dict(made) if isinstance(made, Mapping) else {"model": made}
    for name, model in by_name.items():
        if not isinstance(model, nn.Module):
            raise ConfigurationError(
                f"the model {name!r} is not a torch.nn.Module",
                received=type(model).__name__,
                remedy="return the module from the function, or from `configure_model`",
                option="model",
            )
        tensors = (*model.named_parameters(), *model.named_buffers())
        lazy = next((own for own, tensor in tensors if is_lazy(tensor)), None)
        if lazy is not None:
            raise ConfigurationError(
                f"the model {name!r} is lazy: {lazy!r} has no shape yet",
                expected="parameters with shapes, so that an optimizer can hold them",
                remedy="let it see one batch before: `model(inputs)`, in the function that makes "
                "it or in `configure_model`",
                option="model",
            )
    return by_name


def check_closures(steps: Any, optimizers: Mapping[str, Optimizer]) -> None:
    """Refuse optimizers whose step needs a closure, where nobody gives it one.

    Raises:
        OptimizerError: `optimizer_step` is the default one, which gives none.
    """
    if steps.manual_optimization or not hasattr(steps.optimizer_step, "default_step"):
        return
    for name, optimizer in optimizers.items():
        closure = inspect.signature(optimizer.step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            raise OptimizerError(
                f"the optimizer {name!r} computes the loss several times in each step, and the "
                "default step does so once",
                received=type(optimizer).__name__,
                remedy="set `manual_optimization = True` and call `optimizer.step(closure)` from "
                "`training_step`, or override `optimizer_step(self, run, optimizer)`",
                option="optimizer",
            )
