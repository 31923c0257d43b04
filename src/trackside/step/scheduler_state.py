"""State of schedulers in a checkpoint, held against those that a run is built with."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch.optim import Optimizer, lr_scheduler

from trackside.errors import CheckpointError, restoring
from trackside.saved import check_options

SET_BY_SCHEDULERS = ("initial_lr", "max_lr", "min_lr", "swa_lr", "base_momentum", "max_momentum")
"""Keys that schedulers add to the groups of an optimizer."""
_NOT_OPTIONS = {"last_epoch", "verbose"}


def restore_schedulers(schedulers: Mapping[str, Any], states: Mapping[str, Any]) -> None:
    """Give schedulers their states, and warn of options that differ from those they are built with.

    A scheduler's state holds its options (`T_max`, say) beside what changes as it goes: those that
    were saved hold, with a warning. One without a state starts fresh, with a warning.

    Raises:
        CheckpointError: One is of another kind than that which was saved, or its state was edited.
    """
    for name, scheduler in schedulers.items():
        if name not in states:
            warnings.warn(
                f"the checkpoint has no scheduler {name!r}: it starts fresh", stacklevel=3
            )
            continue
        saved, own = states[name], scheduler.state_dict()
        _refuse_another_kind(name, scheduler, saved, own)
        check_options(f"schedulers.{name}", saved, own)
        for option in _options(scheduler, own) & saved.keys():
            if saved[option] != own[option]:
                warnings.warn(
                    f"the scheduler {name!r} goes on with {option}={saved[option]}, as it was "
                    f"saved, not with {option}={own[option]}; to use what it is built with now, "
                    "start fresh from the weights with the callback `LoadWeights`",
                    stacklevel=3,
                )
        with restoring(f"the scheduler {name!r}"):
            scheduler.load_state_dict(saved)
    for name in states.keys() - schedulers.keys():
        warnings.warn(
            f"the checkpoint has a scheduler {name!r}, and there is none now", stacklevel=3
        )


def _options(scheduler: Any, own: Mapping[str, Any]) -> set[str]:
    parameters = inspect.signature(type(scheduler).__init__).parameters
    return parameters.keys() & own.keys() - _NOT_OPTIONS


def _refuse_another_kind(
    name: str, scheduler: Any, saved: Mapping[str, Any], own: Mapping[str, Any]
) -> None:
    """Of torch's own kinds it is known which options their states have."""
    if not type(scheduler).__module__.startswith("torch.optim"):
        return
    numbers = {name for name in _options(scheduler, own) if isinstance(own[name], (int, float))}
    lacking = numbers - saved.keys()
    surplus = (saved.keys() - own.keys()) & _options_of_all_kinds() - _NOT_OPTIONS
    if lacking or surplus:
        raise CheckpointError(
            f"the scheduler {name!r} is of another kind than the one in the checkpoint",
            expected=_told(surplus) or "the same kind",
            received=f"{type(scheduler).__name__}, {_told(lacking) or 'without these'}",
            remedy="build the scheduler as it was; to begin with the weights alone, use the "
            "callback `LoadWeights`",
        )


def _options_of_all_kinds() -> set[str]:
    """Names of options of torch's schedulers: other keys may be those of another version of it."""
    everything = [kind for kind in vars(lr_scheduler).values() if isinstance(kind, type)]
    kinds = [kind for kind in everything if issubclass(kind, lr_scheduler.LRScheduler)]
    return {name for kind in kinds for name in inspect.signature(kind).parameters}


def _told(names: set[str]) -> str:
    return f"a scheduler with the options {', '.join(sorted(names))}" if names else ""


# --- the groups of optimizers ------------------------------------------------------------------


def set_by_schedulers(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The rates of each group, as schedulers have set them before a checkpoint is loaded."""
    keys = (*SET_BY_SCHEDULERS, "lr")
    return [{key: group[key] for key in keys if key in group} for group in optimizer.param_groups]


def put_back(optimizer: Optimizer, built: Sequence[Mapping[str, Any]]) -> None:
    """Give a scheduler that the checkpoint doesn't have its rates back, so that it starts fresh."""
    # Steps were made, in another process: torch warns of schedulers that move before the first one.
    optimizer._opt_called = True  # type: ignore[attr-defined]
    for group, own in zip(optimizer.param_groups, built, strict=False):
        if "initial_lr" in own and "initial_lr" not in group:
            group.update(own)
        for key in SET_BY_SCHEDULERS:
            if key in own:
                group.setdefault(key, own[key])


def without_schedulers(
    group: Mapping[str, Any], saved: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """The options of a group, without those of schedulers that the checkpoint doesn't have."""
    for key, value in group.items():
        if key in saved or key not in SET_BY_SCHEDULERS:
            yield key, value
