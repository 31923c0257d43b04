"""Around the optimizer: clipping, learning-rate schedulers, and whether it trains the model."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from trackside.distributed.gradients import clip_by_norm, clip_by_value
from trackside.errors import ConfigurationError, MonitorError, OptimizerError, did_you_mean
from trackside.run import Run
from trackside.vocabulary.option_types import holds_options
from trackside.vocabulary.renamed import refuses_old_names

SchedulerFactory = Callable[..., LRScheduler]
"""From the optimizer to its scheduler; one with a parameter named `run` is given the run as well,
for its length: `run.limit.total_steps`."""


@holds_options
@dataclass(frozen=True)
class Clip:
    """How gradients are limited before the update; exactly one of the two.

    Args:
        norm: Largest norm of all gradients of an optimizer together.
        value: Largest absolute value of a single gradient.

    Raises:
        ConfigurationError: None or both given, or not positive.
    """

    norm: float | None = None
    value: float | None = None

    def __post_init__(self) -> None:
        given = [limit for limit in (self.norm, self.value) if limit is not None]
        if len(given) != 1 or not given[0] > 0:
            raise ConfigurationError(
                "a clip has one positive limit",
                expected="Clip(norm=1.0) or Clip(value=0.5)",
                received=repr(self),
                option="norm" if self.value is None else "value",
            )

    def __call__(self, optimizer: Optimizer) -> None:
        """Limit the gradients that `optimizer` is about to apply."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if self.norm is not None:
            clip_by_norm(parameters, self.norm)
        elif self.value is not None:
            clip_by_value(parameters, self.value)


_STATE = ("state_dict", "load_state_dict")


def drops_plainly(optimizer: Optimizer) -> bool:
    """Whether its `zero_grad` is torch's own, so that `drop_gradients` does the same."""
    return type(optimizer).zero_grad is Optimizer.zero_grad and "zero_grad" not in vars(optimizer)


def drop_gradients(optimizer: Optimizer) -> None:
    """`zero_grad()` without torch's profiling hooks, which cost 2 % of a small step."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


@refuses_old_names
@holds_options
@dataclass(frozen=True)
class Scheduler:
    """A learning-rate scheduler and when it moves.

    Args:
        factory: Makes the scheduler from the optimizer, or from `optimizer, run`.
        interval: It moves after each `step` or each `epoch`. None: as its kind does; `OneCycleLR`,
            `CyclicLR`, `WarmupStableDecayLR`, those of transformers, and what is chained of them,
            per step, others per epoch. Of a function of yours (`LambdaLR`) nobody knows: it moves
            per epoch, and the run tells.
        monitor: What `ReduceLROnPlateau` watches, such as `val/loss`. It moves whenever that is
            recorded, and has no interval.
    """

    factory: SchedulerFactory
    interval: Literal["step", "epoch"] | None = None
    monitor: str | None = None

    def __post_init__(self) -> None:
        if self.interval not in ("step", "epoch", None):
            raise ConfigurationError(
                f"a scheduler can't move per {self.interval!r}",
                expected="interval='step' or interval='epoch'",
                remedy=did_you_mean(str(self.interval), ("step", "epoch")),
                option="interval",
            )


def interval_of_kind(scheduler: Any) -> Literal["step", "epoch"]:
    """After what a scheduler of this kind moves, where nobody says.

    A class of one's own says it by an attribute: `interval = "step"`.
    """
    if getattr(scheduler, "interval", None) == "step":
        return "step"
    parts = getattr(scheduler, "_schedulers", ())  # of SequentialLR and ChainedScheduler
    if any(interval_of_kind(part) == "step" for part in parts):
        return "step"
    if any(_made_for_steps(function) for function in getattr(scheduler, "lr_lambdas", ())):
        return "step"
    return "step" if isinstance(scheduler, (OneCycleLR, CyclicLR)) else "epoch"


def _made_for_steps(function: object) -> bool:
    """Whether a `LambdaLR` of it is one that transformers makes: those count steps."""
    function = function.func if isinstance(function, functools.partial) else function
    return getattr(function, "__module__", None) == "transformers.optimization"


def parameters_of(call: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the parameters of `call`, as far as Python knows them."""
    try:
        return tuple(inspect.signature(call).parameters)
    except (TypeError, ValueError):  # written in C
        return ()


def _has_functions(scheduler: Any) -> bool:
    parts = getattr(scheduler, "_schedulers", ())
    return hasattr(scheduler, "lr_lambdas") or any(map(_has_functions, parts))


class Scheduling:
    """A scheduler at work."""

    def __init__(self, spec: Scheduler, optimizer: Optimizer, run: Run | None = None) -> None:
        wants_run = "run" in parameters_of(spec.factory)
        self.scheduler: Any = spec.factory(optimizer, **{"run": run} if wants_run else {})
        if not hasattr(self.scheduler, "step"):
            raise ConfigurationError(
                "the scheduler is not a scheduler",
                expected="a function of the optimizer that returns one",
                received=type(self.scheduler).__name__,
                option="scheduler",
            )
        keeps_state = all(hasattr(self.scheduler, name) for name in _STATE)
        if not keeps_state:
            raise ConfigurationError(
                f"the scheduler `{type(self.scheduler).__name__}` can't be kept in a checkpoint",
                expected="methods `state_dict` and `load_state_dict`",
                option="scheduler",
            )
        self.plateau = isinstance(self.scheduler, ReduceLROnPlateau)
        refused = spec.interval if self.plateau else spec.monitor
        if refused is not None:
            raise ConfigurationError(
                f"{type(self.scheduler).__name__} has no use for {refused!r}",
                expected="`monitor` alone: it moves whenever that is recorded"
                if self.plateau
                else "`interval` alone: only ReduceLROnPlateau watches a value",
                option="interval" if self.plateau else "monitor",
            )
        self.interval = spec.interval or interval_of_kind(self.scheduler)
        self.is_ambiguous = (
            spec.interval is None and self.interval == "epoch" and _has_functions(self.scheduler)
        )
        """Whether it is made of functions that may count epochs or steps, and nobody says which."""
        self.monitor = spec.monitor or ("val/loss" if self.plateau else None)

    def after_step(self) -> None:
        """A step is done."""
        if self.interval == "step" and not self.plateau:
            self.scheduler.step()

    def after_record(self, values: Mapping[str, float]) -> None:
        """Values are recorded: one that watches one of them moves."""
        monitor = self.monitor
        if isinstance(self.scheduler, ReduceLROnPlateau) and monitor and monitor in values:
            self.scheduler.step(values[monitor])

    def after_epoch(self, metrics: Mapping[str, float], data: Container[str] = ()) -> None:
        """An epoch is done, with `metrics`; values of `data` come only when it is evaluated.

        Raises:
            MonitorError: The value that it watches was not logged.
        """
        if isinstance(self.scheduler, ReduceLROnPlateau):
            topic = str(self.monitor).partition("/")[0]
            evaluated = any(name.startswith(f"{topic}/") for name in metrics)
            if topic in data and not evaluated:
                return
            if self.monitor is None or self.monitor not in metrics:
                raise MonitorError(
                    f"the scheduler watches {self.monitor!r}, which this epoch did not log",
                    received=", ".join(metrics) or "nothing",
                    remedy=did_you_mean(str(self.monitor), metrics),
                    option="monitor",
                )
        elif self.interval == "epoch":
            self.scheduler.step()


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of `model` that can be trained. Raises `OptimizerError` when none can."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise OptimizerError(
            f"nothing in `{type(model).__name__}` can be trained",
            expected="a parameter with requires_grad=True",
            received=f"{len(list(model.parameters()))} parameters, all frozen or none",
            option="model",
        )
    return parameters


def build_optimizers(
    made: Optimizer | Mapping[str, Optimizer], models: Mapping[str, nn.Module]
) -> dict[str, Optimizer]:
    """Optimizers by name, each checked to train something of the models.

    Raises:
        OptimizerError: One holds no parameter of the models, or isn't an optimizer.
    """
    optimizers = dict(made) if isinstance(made, Mapping) else {"optimizer": made}
    own = {id(p): name for m in models.values() for name, p in m.named_parameters()}
    for name, optimizer in optimizers.items():
        if not isinstance(optimizer, Optimizer):
            raise OptimizerError(
                f"the optimizer {name!r} is not an optimizer",
                expected="a torch.optim.Optimizer, or a function of the parameters that makes one",
                received=type(optimizer).__name__,
                option="optimizer",
            )
        held = [p for group in optimizer.param_groups for p in group["params"]]
        if not any(id(p) in own for p in held):
            raise OptimizerError(
                f"the optimizer {name!r} holds none of the model's parameters",
                expected=f"some of the {len(own)} parameters of the model",
                received=f"{len(held)} other tensors",
                remedy="give a factory: `optimizer=lambda parameters: AdamW(parameters)`",
                option="optimizer",
            )
    return optimizers


def build_schedulings(spec: Any, run: Run) -> dict[str, Scheduling]:
    """Schedulers by the name of their optimizer.

    Args:
        spec: None, a factory, a `Scheduler`, or a mapping of those by optimizer.
        run: Whose optimizers they are for; its length is known.
    """
    if spec is None:
        return {}
    specs = spec if isinstance(spec, Mapping) else dict.fromkeys(run.optimizers, spec)
    unknown = [name for name in specs if name not in run.optimizers]
    if unknown:
        raise ConfigurationError(
            f"there is a scheduler for {unknown[0]!r}, and no such optimizer",
            remedy=did_you_mean(unknown[0], run.optimizers),
            option="scheduler",
        )
    named = {n: one if isinstance(one, Scheduler) else Scheduler(one) for n, one in specs.items()}
    return {name: Scheduling(one, run.optimizers[name], run) for name, one in named.items()}
