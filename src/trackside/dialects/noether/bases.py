"""Configurations and base classes of Noether's callbacks."""

from __future__ import annotations

import inspect
import logging
import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any

from trackside.dialects.noether.counters import UpdateCounter
from trackside.dialects.noether.passes import SamplerIntervalConfig
from trackside.errors import ScheduleError, UsageError
from trackside.schedule import Every, Unit

FREQUENCIES: dict[str, Unit] = {
    "every_n_epochs": "epochs",
    "every_n_updates": "steps",
    "every_n_samples": "samples",
}


class PartsNeededError(UsageError):
    """A constructor reads a part of the run, which is there when the run begins."""


class EarlyStopIteration(Exception):
    """Raised by a callback to end training."""


# --- configuration -----------------------------------------------------------------------------


@typing.dataclass_transform(kw_only_default=True)
class _Fields:
    """Subclasses are dataclasses by their annotations, as they are models in Noether."""

    def __init_subclass__(cls) -> None:
        dataclass(kw_only=True)(cls)


class CallBackBaseConfig(_Fields):
    """Configuration of a periodic callback: exactly one of the three frequencies.

    Raises:
        ScheduleError: None of them, or several, or one that isn't positive.
    """

    kind: str | None = None
    """Fully qualified name of the callback's class."""
    name: str | None = None
    """Name of the instance."""
    id: str | None = None
    """Key of its state; takes precedence over `name`."""
    every_n_epochs: int | None = None
    every_n_updates: int | None = None
    every_n_samples: int | None = None
    """Items of training data, over all ranks."""
    batch_size: int | None = None
    """Items of a batch where it passes over data; None takes that of the data."""

    def __post_init__(self) -> None:
        self.schedule()

    def schedule(self) -> Every:
        """The schedule on which the callback is due."""
        given = {name: getattr(self, name) for name in FREQUENCIES}
        given = {name: amount for name, amount in given.items() if amount is not None}
        if len(given) != 1:
            raise ScheduleError(
                f"a periodic callback{f' ({self.kind})' if self.kind else ''} has one frequency",
                expected="exactly one of " + ", ".join(FREQUENCIES),
                received=", ".join(f"{name}={amount}" for name, amount in given.items()) or "none",
            )
        ((name, amount),) = given.items()
        return Every(**{FREQUENCIES[name]: amount})


class PeriodicDataIteratorCallbackConfig(CallBackBaseConfig):
    """Configuration of a callback that passes over a data set."""

    dataset_key: str
    """Name of the data set in the run."""


# --- base classes ------------------------------------------------------------------------------


class CallbackBase:
    """Base class of callbacks that do something before or after training.

    What Noether gives to the constructor may be given here as well, and is used then.
    """

    def __init__(
        self,
        trainer: Any = None,
        model: Any = None,
        data_container: Any = None,
        tracker: Any = None,
        log_writer: Any = None,
        checkpoint_writer: Any = None,
        metric_property_provider: Any = None,
        name: str | None = None,
    ) -> None:
        self.name = name
        provided = {
            "trainer": trainer,
            "model": model,
            "data_container": data_container,
            "tracker": tracker,
            "writer": log_writer,
            "checkpoint_writer": checkpoint_writer,
            "metric_property_provider": metric_property_provider,
        }
        vars(self).update({key: value for key, value in provided.items() if value is not None})

    def __getattr__(self, name: str) -> Any:
        # Only what isn't set: before the run, everything that the run will bring.
        if name in PROVIDED:
            raise PartsNeededError(
                f"`{type(self).__name__}.{name}` is there when the run begins, not before",
                remedy="use it from `before_training` on; or let a configuration file make the "
                "callback, or `noether.build`: it is then made when the run begins",
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def checkpoint_key(self) -> str:
        """Name of its state in a checkpoint."""
        return self.name if self.name is not None else type(self).__name__

    @property
    def logger(self) -> logging.Logger:
        """A logger named for the class."""
        return logging.getLogger(f"trackside.{type(self).__name__}")

    def before_training(self, *, update_counter: UpdateCounter) -> None: ...
    def after_training(self, *, update_counter: UpdateCounter) -> None: ...
    def resume_from_checkpoint(self, resumption_paths: Any, model: Any) -> None: ...

    def state_dict(self) -> dict[str, Any] | None:
        """Return the state that a resumed run needs; None for no state."""
        return None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""


class PeriodicCallback(CallbackBase):
    """Base class of callbacks that do something at intervals.

    Args:
        callback_config: Its configuration, with exactly one frequency.
        provided: What `CallbackBase` takes.
    """

    def __init__(self, callback_config: Any, **provided: Any) -> None:
        config_name = getattr(callback_config, "id", None) or getattr(callback_config, "name", None)
        super().__init__(**{"name": config_name, **provided})
        self.callback_config = callback_config
        self.every_n_epochs = callback_config.every_n_epochs
        self.every_n_updates = callback_config.every_n_updates
        self.every_n_samples = callback_config.every_n_samples
        self.batch_size = callback_config.batch_size

    @classmethod
    def with_options(cls) -> Callable[..., PeriodicCallback]:
        """A function of the options of the configuration, for files that name them one by one."""
        config = config_class(cls)

        def make(**options: Any) -> Any:
            return made_of(cls, config(**options))

        known = [one for one in fields(config) if one.name != "kind"]
        hints = typing.get_type_hints(config)
        make.__name__, make.__doc__ = cls.__name__, cls.__doc__
        make.__annotations__ = {one.name: hints[one.name] for one in known}
        make.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(
                    one.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=inspect.Parameter.empty if one.default is MISSING else one.default,
                    annotation=hints[one.name],
                )
                for one in known
            ]
        )
        return make

    def to_short_interval_string(self) -> str:
        """Its interval in short: `E1`, `U100` or `S5000`."""
        return "_".join(f"{name[8].upper()}{amount}" for name, amount in self._frequencies())

    def get_interval_string_verbose(self) -> str:
        """Its interval in full: `every_n_epochs=1`."""
        return ",".join(f"{name}={amount}" for name, amount in self._frequencies())

    def updates_per_interval(self, update_counter: UpdateCounter) -> int:
        """Updates from one time that it is due to the next.

        Raises:
            UsageError: They aren't known: the data has no length, or its batches have no size.
        """
        ((name, amount),) = self._frequencies()
        per_epoch, size = update_counter.updates_per_epoch, update_counter.effective_batch_size
        if name == "every_n_updates":
            return amount
        if name == "every_n_epochs" and per_epoch is not None:
            return amount * per_epoch
        if name == "every_n_samples" and size is not None:
            return amount // size
        raise UsageError(
            f"updates per {name}={amount} aren't known",
            received="data without a length, or whose batches have no size of their own",
            remedy="give the callback `every_n_updates`",
        )

    def updates_till_next_invocation(self, update_counter: UpdateCounter) -> int:
        """Updates until it is due again. Raises as `updates_per_interval`."""
        each = self.updates_per_interval(update_counter)
        return each - (update_counter.update or 0) % each

    def _frequencies(self) -> list[tuple[str, int]]:
        given = [(name, getattr(self, name)) for name in FREQUENCIES]
        return [(name, amount) for name, amount in given if amount is not None]

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.get_interval_string_verbose()})"

    def periodic_callback(
        self, *, interval_type: str, update_counter: UpdateCounter, **kwargs: Any
    ) -> None: ...
    def track_after_accumulation_step(
        self,
        *,
        update_counter: UpdateCounter,
        batch: Any,
        losses: dict[str, Any],
        update_outputs: dict[str, Any] | None,
        accumulation_steps: int,
        accumulation_step: int,
    ) -> None: ...
    def track_after_update_step(
        self, *, update_counter: UpdateCounter, times: dict[str, float]
    ) -> None: ...


class PeriodicDataIteratorCallback(PeriodicCallback):
    """Base class of callbacks that pass over a data set at intervals.

    `process_data` gets each batch, `process_results` what it returned for the whole data set.
    """

    def __init__(self, callback_config: Any, **provided: Any) -> None:
        super().__init__(callback_config, **provided)
        self.dataset_key = callback_config.dataset_key

        self.sampler_config: SamplerIntervalConfig | None = None
        """How to pass over the data; set it in the constructor, or override
        `register_sampler_config`."""

    def register_sampler_config(self) -> SamplerIntervalConfig:
        """The sampler over the callback's data; override it for another sampler."""
        return self.sampler_config or self._sampler_config_from_key(self.dataset_key)

    def _sampler_config_from_key(
        self, key: str | None, properties: Any = None, max_size: int | None = None
    ) -> SamplerIntervalConfig:
        if properties is not None:
            raise UsageError(
                "noether: `properties` of a data set can't be chosen here",
                expected="a data set gives its items as they are",
                remedy="give `fit` a data set of its own for it: data={...}",
            )
        return SamplerIntervalConfig(batch_size=self.batch_size, dataset_key=key, max_size=max_size)

    def process_data(self, batch: Any, *, trainer_model: Any) -> Any: ...
    def process_results(
        self, results: Any, *, interval_type: str, update_counter: UpdateCounter, **_: Any
    ) -> None: ...


class EarlyStopperBase(PeriodicCallback):
    """Base class of callbacks that end training when `_should_stop` says so."""

    def periodic_callback(
        self, *, interval_type: str, update_counter: UpdateCounter, **kwargs: Any
    ) -> None:
        """End training if it is time; an evaluation alone never does."""
        if interval_type != "eval" and self._should_stop(update_counter=update_counter):
            raise EarlyStopIteration(f"{type(self).__name__} asked for it")

    def _should_stop(self, *, update_counter: UpdateCounter) -> bool:
        """Whether training is to end."""
        raise NotImplementedError(f"`{type(self).__name__}` has to define `_should_stop`")


PROVIDED = (
    "trainer",
    "model",
    "data_container",
    "tracker",
    "writer",
    "metric_property_provider",
    "checkpoint_writer",
)
"""Attributes that a callback has from the start of the run."""


def made_of(kind: type[PeriodicCallback], config: Any) -> Any:
    """A callback of its configuration; where its constructor reads parts of the run, later."""
    try:
        return kind(config)
    except PartsNeededError:
        from trackside.dialects.noether.provided import injected  # noqa: PLC0415 - a cycle

        return injected(kind, config)


def config_class(kind: type[PeriodicCallback]) -> type[CallBackBaseConfig]:
    """The class of the configuration, as the constructor of the callback declares it."""
    for cls in kind.__mro__:
        if "__init__" in vars(cls):
            hint = typing.get_type_hints(vars(cls)["__init__"]).get("callback_config")
            if inspect.isclass(hint) and issubclass(hint, CallBackBaseConfig):
                return hint
    if hasattr(kind, "process_data"):
        return PeriodicDataIteratorCallbackConfig
    return CallBackBaseConfig
