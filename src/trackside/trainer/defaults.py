"""The default callbacks, and how to remove one by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from trackside.errors import ConfigurationError, did_you_mean
from trackside.lifecycle.adoption import adopt, original
from trackside.lifecycle.collection import CallbackCollection, name_for
from trackside.run import Run

if TYPE_CHECKING:
    from trackside.callbacks.stopping.terminate_on_non_finite import Policy

_REPORTING = "trackside.callbacks.reporting"
DEFAULTS: dict[str, tuple[str, str]] = {
    # Closing goes in reverse: the summary speaks when all others have closed, the bar included.
    "result": (f"{_REPORTING}.trainer_summary", "TrainerSummary"),
    "progress": (f"{_REPORTING}.progress_bar", "ProgressBar"),
    "provenance": (f"{_REPORTING}.provenance", "Provenance"),
    "summary": (f"{_REPORTING}.model_summary", "ModelSummary"),
    "data": (f"{_REPORTING}.dataset_stats", "DatasetStats"),
    "parameters": (f"{_REPORTING}.parameter_count", "ParameterCount"),
    "history": (f"{_REPORTING}.json_lines_logger", "JSONLinesLogger"),
    "learning_rate": (f"{_REPORTING}.learning_rate", "LearningRate"),
    "throughput": ("trackside.callbacks.watching.throughput", "Throughput"),
    "peak_memory": ("trackside.callbacks.watching.peak_memory", "PeakMemory"),
    "train_time": ("trackside.callbacks.watching.train_time", "TrainTime"),
    "timer": ("trackside.callbacks.watching.timer", "Timer"),
    "table": (f"{_REPORTING}.epoch_table", "EpochTable"),
    "checkpoint": ("trackside.callbacks.saving.checkpoint", "Checkpoint"),
}
"""Name, module and class of each default, in order; imported when a trainer is made."""

_OPTIONS: dict[str, dict[str, Any]] = {"checkpoint": {"min_seconds": 30}}
"""Options in which a default differs from one that is given."""


def collect(
    callbacks: Iterable[object] | Mapping[str, object | None],
    run_class: type[Run],
    *,
    defaults: bool,
    declared: Iterable[tuple[str | None, Any]] = (),
    settings: Mapping[str, Any] | None = None,
) -> CallbackCollection:
    """The given callbacks after the default ones and those that trainer and model declare.

    Both give way to a given callback of their class or their name; a name given as None is removed.

    Args:
        callbacks: Those that are given.
        run_class: The kind of run that they see.
        defaults: Whether the default ones are among them.
        declared: Those of trainer and model, by name.
        settings: Defaults of the trainer's settings, for those who write them down.

    Raises:
        ConfigurationError: It is a single one; or a name is to be removed, and no default has it.
    """
    if not isinstance(callbacks, Iterable):
        raise ConfigurationError(
            "callbacks are a list, or a mapping by name",
            received=type(callbacks).__name__,
            remedy="`callbacks=[...]`, also for a single one",
            option="callbacks",
        )
    given: list[tuple[str | None, Any]] = []
    removed: set[str] = set()
    if isinstance(callbacks, Mapping):
        given = [(name, adopt(one)) for name, one in callbacks.items() if one is not None]
        removed = {name for name, one in callbacks.items() if one is None}
    else:
        given = [(None, adopt(one)) for one in callbacks]
    own = [(name or name_for(one), name, one) for name, one in declared]
    known = {*DEFAULTS, *(name for name, _, _ in own)}
    for name in removed - known:
        raise ConfigurationError(
            f"there is no default callback named {name!r} to remove",
            remedy=did_you_mean(name, known),
            option="callbacks",
        )
    gone: set[Any] = removed | {name or getattr(one, "name", None) for name, one in given}
    classes = {type(original(one)) for _, one in given}
    own = [one for one in own if one[0] not in gone and type(original(one[2])) not in classes]
    gone |= {name for name, _, _ in own}
    classes |= {type(original(one)) for _, _, one in own}
    kinds = [
        (name, getattr(import_module(module), class_name))
        for name, (module, class_name) in (DEFAULTS.items() if defaults else ())
        if name not in gone
    ]
    options = {**_OPTIONS, "provenance": {"defaults": settings}}
    defaults_left = [
        (name, kind(**options.get(name, {}))) for name, kind in kinds if kind not in classes
    ]
    collection = CallbackCollection(run_class=run_class)
    collection.extend([*defaults_left, *((name, one) for _, name, one in own), *given])
    return collection


def add_non_finite(callbacks: CallbackCollection, policy: Policy | None) -> None:
    """Add the callback that `Settings(non_finite=policy)` asks for.

    Raises:
        ConfigurationError: There is no such policy; or such a callback is among them already.
    """
    if policy is None:
        return
    from trackside.callbacks.stopping import terminate_on_non_finite as module  # noqa: PLC0415

    if policy not in module.POLICIES:
        raise ConfigurationError(
            f"non_finite={policy!r} must be a policy",
            expected=", ".join(module.POLICIES),
            remedy=did_you_mean(str(policy), module.POLICIES),
            option="non_finite",
        )
    if any(isinstance(member, module.TerminateOnNonFinite) for member in callbacks):
        raise ConfigurationError(
            "what to do about values that aren't finite is said twice",
            received=f"Settings(non_finite={policy!r}), and a `TerminateOnNonFinite`",
            remedy=f"leave out one: the callback is the same as `TerminateOnNonFinite({policy!r})`",
            option="non_finite",
        )
    callbacks.append(module.TerminateOnNonFinite(policy))
