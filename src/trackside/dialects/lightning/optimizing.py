"""Optimizers and schedulers of a `LightningModule`, in each form that it may return them in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from trackside.errors import ConfigurationError, OptimizerError
from trackside.step.optimization import Scheduler


@dataclass(frozen=True)
class Configured:
    """Optimizers, and a scheduler with its settings for some of them."""

    optimizers: Sequence[Optimizer]
    schedulers: Sequence[dict[str, Any]] = field(default_factory=list)

    @property
    def named(self) -> dict[str, Optimizer]:
        """The optimizers: one is called `optimizer`, several `optimizer_0` and so on."""
        if len(self.optimizers) == 1:
            return {"optimizer": self.optimizers[0]}
        return {f"optimizer_{index}": one for index, one in enumerate(self.optimizers)}


def configured(returned: Any) -> Configured:
    """The forms of Lightning, read.

    Args:
        returned: Result of `configure_optimizers`.

    Raises:
        OptimizerError: It has none of these forms.
    """
    match returned:
        case Optimizer():
            return Configured([returned])
        case {"optimizer": Optimizer() as optimizer}:
            return Configured([optimizer], _schedulers([returned]))
        case (list() as optimizers, schedulers) if _are_optimizers(optimizers):
            several = schedulers if isinstance(schedulers, list) else [schedulers]
            return Configured(optimizers, [_settings(one) for one in several])
        case [*parts] if parts and _are_optimizers(parts):
            return Configured(parts)
        case [*parts] if parts and all(isinstance(p, Mapping) and "optimizer" in p for p in parts):
            return Configured([part["optimizer"] for part in parts], _schedulers(parts))
    raise OptimizerError(
        "`configure_optimizers` of the LightningModule returned no optimizer",
        expected="an optimizer, a list of them, two lists, or a dict with `optimizer`",
        received="None" if returned is None else type(returned).__name__,
        option="optimizer",
    )


def _are_optimizers(parts: Iterable[Any]) -> bool:
    return all(isinstance(part, Optimizer) for part in parts)


def _schedulers(parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for part in parts:
        if part.get("lr_scheduler") is not None:
            settings = _settings(part["lr_scheduler"])
            found.append({"monitor": part.get("monitor"), **settings})
    return found


def _settings(scheduler: Any) -> dict[str, Any]:
    return dict(scheduler) if isinstance(scheduler, Mapping) else {"scheduler": scheduler}


class EveryFew:
    """A scheduler that moves at each `frequency`-th of its intervals.

    Args:
        scheduler: The scheduler.
        frequency: How many intervals of it make a move.
    """

    def __init__(self, scheduler: Any, frequency: int) -> None:
        self.scheduler, self.frequency, self.intervals = scheduler, frequency, 0

    def step(self, *values: Any) -> None:
        """An interval is over."""
        self.intervals += 1
        if self.intervals % self.frequency == 0:
            self.scheduler.step(*values)

    def __getattr__(self, name: str) -> Any:
        if name in ("scheduler", "__setstate__"):
            raise AttributeError(name)
        return getattr(self.scheduler, name)

    def state_dict(self) -> dict[str, Any]:
        """The state of the scheduler, with the intervals counted."""
        return {**self.scheduler.state_dict(), "intervals": self.intervals}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        state = dict(state)
        self.intervals = state.pop("intervals")
        self.scheduler.load_state_dict(state)


def as_schedulings(made: Configured, full_name: Any) -> dict[str, Scheduler]:
    """Schedulers for the loop, by name of their optimizer.

    Args:
        made: Optimizers and schedulers of the module.
        full_name: From a name that the module logs in its validation to the name it is recorded by.

    Raises:
        ConfigurationError: An optimizer has several, or one watches what has no name.
    """
    found: dict[str, Scheduler] = {}
    for settings in made.schedulers:
        scheduler = settings["scheduler"]
        owner = getattr(scheduler, "optimizer", None)
        name = next((n for n, one in made.named.items() if one is owner), None)
        if name is None or name in found:
            raise ConfigurationError(
                f"the scheduler `{type(scheduler).__name__}` of the LightningModule "
                + ("has none of its optimizers" if name is None else "is the second of one"),
                expected="one scheduler for an optimizer",
                remedy="chain several: `torch.optim.lr_scheduler.SequentialLR` or "
                "`ChainedScheduler`",
                option="scheduler",
            )
        found[name] = _scheduling(scheduler, settings, full_name)
    return found


def _scheduling(scheduler: Any, settings: Mapping[str, Any], full_name: Any) -> Scheduler:
    frequency, monitor = settings.get("frequency", 1), settings.get("monitor")
    if isinstance(scheduler, ReduceLROnPlateau):
        if monitor is None or frequency != 1:
            raise ConfigurationError(
                "`ReduceLROnPlateau` moves whenever the value that it watches is recorded",
                expected="`monitor`, and no `frequency`",
                received=f"monitor={monitor!r}, frequency={frequency}",
                remedy="`fit(evaluate_every=...)` says how often that is",
                option="scheduler",
            )
        return Scheduler(lambda optimizer: scheduler, monitor=full_name(monitor))
    moved: Any = scheduler if frequency == 1 else EveryFew(scheduler, frequency)
    return Scheduler(lambda optimizer: moved, interval=settings.get("interval", "epoch"))
