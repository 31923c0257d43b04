"""torch's learning-rate schedulers by name, and the one that torch lacks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch.optim import lr_scheduler

from trackside.callbacks.scheduling.warmup_stable_decay import WarmupStableDecayLR
from trackside.errors import ConfigurationError, did_you_mean
from trackside.lifecycle.collection import snake_case

Factory = Callable[..., Any]
"""From the optimizer to its scheduler; see `SchedulerFactory`."""


def scheduler_names() -> dict[str, type]:
    """All schedulers by short name: `StepLR` is `step`, `OneCycleLR` `one_cycle`."""
    found: dict[str, type] = {"warmup_stable_decay": WarmupStableDecayLR}
    for name, value in vars(lr_scheduler).items():
        kept = isinstance(value, type) and issubclass(value, lr_scheduler.LRScheduler)
        if kept and name not in ("LRScheduler", "_LRScheduler"):
            found[snake_case(name.removesuffix("LR"))] = value
    return found


def factory(scheduler: str | Factory, options: Mapping[str, Any]) -> Factory:
    """The function that makes a scheduler of an optimizer.

    Args:
        scheduler: A name (`cosine_annealing`, `CosineAnnealingLR`), a class, or a function.
        options: Passed on to it beside the optimizer.

    Raises:
        ConfigurationError: There is no scheduler of that name, or it has no such option.
    """
    made = _named(scheduler) if isinstance(scheduler, str) else scheduler
    if inspect.isclass(made):
        try:
            inspect.signature(made).bind(None, **options)
        except TypeError as error:
            raise ConfigurationError(
                f"`{made.__name__}` can't be made with these options: {error}",
                expected=str(inspect.signature(made)),
                received=", ".join(options) or "no options",
                option="scheduler",
            ) from error
    return functools.partial(made, **options) if options else made


def is_plateau(scheduler: str | Factory) -> bool:
    """Whether it watches a metric, as far as that is known before it is made."""
    made = _named(scheduler) if isinstance(scheduler, str) else scheduler
    made = made.func if isinstance(made, functools.partial) else made
    return inspect.isclass(made) and issubclass(made, lr_scheduler.ReduceLROnPlateau)


def _named(name: str) -> type:
    known = scheduler_names()
    spellings = {_bare(short): cls for short, cls in known.items()}
    found = spellings.get(_bare(name)) or spellings.get(_bare(name).removesuffix("lr"))
    if found is None:
        raise ConfigurationError(
            f"there is no learning-rate scheduler named {name!r}",
            remedy=did_you_mean(name, known),
            option="scheduler",
        )
    return found


def _bare(name: str) -> str:
    return name.replace("_", "").lower()
