"""The built-in callbacks of Noether that save or stop, under their names and with their options."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from trackside.callbacks.stopping.patience import Patience
from trackside.dialects.noether.bases import CallBackBaseConfig, EarlyStopperBase, PeriodicCallback
from trackside.dialects.noether.counters import UpdateCounter
from trackside.errors import ConfigurationError, MonitorError, did_you_mean
from trackside.history import Mode, has_improved

# --- best values ---------------------------------------------------------------------------------


class _Judging(PeriodicCallback):
    """A callback that reads a metric which another one writes at the same update."""

    @property
    def mode(self) -> Mode:
        """Direction in which the metric is better."""
        higher: bool = self.metric_property_provider.higher_is_better(self.metric_key)
        return "max" if higher else "min"

    metric_key: str

    def written(self, key: str) -> float:
        """The value under `key`.

        Raises:
            MonitorError: Nothing has been written under it since the last update.
        """
        cache: dict[str, float] = self.writer.log_cache
        if key not in cache:
            raise MonitorError(
                f"nothing was written under {key!r} at this update",
                received=", ".join(cache) or "nothing",
                remedy=did_you_mean(key, cache)
                or "put the callback that writes it first, with the same interval",
            )
        return cache[key]


class BestCheckpointCallbackConfig(CallBackBaseConfig):
    """Configuration of `BestCheckpointCallback`."""

    metric_key: str
    """The metric, as it is written."""
    save_frozen_weights: bool = True
    tolerances: list[int] | None = None
    """For each of them, one more file: the best weights until the metric had not improved more
    often than that; it stays when training finds a better value later."""
    model_names: list[str] | None = None
    """Parts of the model to save; None: all."""


class BestCheckpointCallback(_Judging):
    """Saves the weights whenever a metric is the best so far."""

    def __init__(self, callback_config: BestCheckpointCallbackConfig, **provided: Any) -> None:
        super().__init__(callback_config, **provided)
        self.config, self.metric_key = callback_config, callback_config.metric_key
        self.best_metric_value: float | None = None
        self.waited: dict[str, int] = {str(t): 0 for t in callback_config.tolerances or ()}
        """How often the metric has not improved, by tolerance, while that counts."""

    def periodic_callback(self, *, interval_type: str, **_: Any) -> None:
        if interval_type == "eval":
            return
        value = self.written(self.metric_key)
        if has_improved(value, self.best_metric_value, self.mode):
            self.best_metric_value = value
            self._save("")
            for tolerance, waited in self.waited.items():
                if waited <= int(tolerance):
                    self.waited[tolerance] = 0
                    self._save(f".tolerance={tolerance}")
        else:
            for tolerance, waited in self.waited.items():
                if waited <= int(tolerance):
                    self.waited[tolerance] = waited + 1

    def _save(self, variant: str) -> None:
        self.checkpoint_writer.save(
            model=self.model,
            checkpoint_tag=f"best_model.{self.metric_key.replace('/', '.')}{variant}",
            save_optim=False,
            save_frozen_weights=self.config.save_frozen_weights,
            model_names_to_save=self.config.model_names,
        )

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best_metric_value, "waited": dict(self.waited)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_metric_value = state_dict["best"]
        self.waited.update(state_dict["waited"])


class BestMetricCallbackConfig(CallBackBaseConfig):
    """Configuration of `BestMetricCallback`."""

    source_metric_key: str
    """The metric whose best value decides."""
    target_metric_keys: list[str] | None = None
    """Metrics whose values at that moment are written."""
    optional_target_metric_keys: list[str] | None = None
    """The same, where they are written at all."""


class BestMetricCallback(_Judging):
    """Writes other metrics as they were when one metric was the best."""

    def __init__(self, callback_config: BestMetricCallbackConfig, **provided: Any) -> None:
        super().__init__(callback_config, **provided)
        self.config, self.metric_key = callback_config, callback_config.source_metric_key
        self.best: float | None = None
        self.at_best: dict[str, float] = {}

    def periodic_callback(self, *, interval_type: str, **_: Any) -> None:
        if interval_type == "eval":
            return
        value = self.written(self.metric_key)
        if has_improved(value, self.best, self.mode):
            self.best = value
            cache, optional = self.writer.log_cache, self.config.optional_target_metric_keys or ()
            self.at_best = {key: self.written(key) for key in self.config.target_metric_keys or ()}
            self.at_best |= {key: cache[key] for key in optional if key in cache}
        for key, kept in self.at_best.items():
            self.writer.add_scalar(f"{key}/at_best/{self.metric_key}", kept)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "at_best": dict(self.at_best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.at_best = state_dict["best"], dict(state_dict["at_best"])


# --- checkpoints ---------------------------------------------------------------------------------


class CheckpointCallbackConfig(CallBackBaseConfig):
    """Configuration of `CheckpointCallback`."""

    save_weights: bool = True
    save_optim: bool = False
    save_latest_weights: bool = True
    save_latest_optim: bool = False
    model_names: list[str] | None = None
    """Parts of the model to save; None: all."""


class CheckpointCallback(PeriodicCallback):
    """Saves weights, optimizers or both at intervals, and once more at the end, as `last`."""

    def __init__(self, callback_config: CheckpointCallbackConfig, **provided: Any) -> None:
        super().__init__(callback_config, **provided)
        self.config = callback_config

    def periodic_callback(
        self, *, interval_type: str, update_counter: UpdateCounter, **_: Any
    ) -> None:
        if interval_type != "eval":
            self._save(
                update_counter.cur_iteration,
                save_latest_weights=self.config.save_latest_weights,
                save_latest_optim=self.config.save_latest_optim,
            )

    def after_training(self, *, update_counter: UpdateCounter) -> None:
        self._save("last")

    def _save(self, tag: object, **latest: bool) -> None:
        self.checkpoint_writer.save(
            model=self.model,
            checkpoint_tag=tag,
            save_weights=self.config.save_weights,
            save_optim=self.config.save_optim,
            model_names_to_save=self.config.model_names,
            **latest,
        )


class EmaCallbackConfig(CallBackBaseConfig):
    """Configuration of `EmaCallback`."""

    target_factors: list[float]
    """Part of the average that stays at each update, such as 0.999: an average for each."""
    save_weights: bool = True
    save_last_weights: bool = True
    save_latest_weights: bool = False


class EmaCallback(PeriodicCallback):
    """Keeps moving averages of the weights, and saves them at intervals and at the end."""

    def __init__(self, callback_config: EmaCallbackConfig, **provided: Any) -> None:
        super().__init__(callback_config, **provided)
        self.config = callback_config
        self.averages: dict[str, dict[str, Tensor]] = {}
        """Averages by factor and name of the weight."""

    def before_training(self, *, update_counter: UpdateCounter) -> None:
        weights = self.model.state_dict()
        for factor in self.config.target_factors:
            if str(factor) not in self.averages:
                copy = {name: weight.detach().clone() for name, weight in weights.items()}
                self.averages[str(factor)] = copy

    def track_after_update_step(self, **_: Any) -> None:
        weights = self.model.state_dict()
        for factor, average in self.averages.items():
            floating = [name for name, one in average.items() if one.is_floating_point()]
            kept, new = [average[n] for n in floating], [weights[n].detach() for n in floating]
            torch._foreach_lerp_(kept, new, 1 - float(factor))
            for name in average.keys() - set(floating):
                average[name].copy_(weights[name])

    def periodic_callback(
        self, *, interval_type: str, update_counter: UpdateCounter, **_: Any
    ) -> None:
        if interval_type != "eval":
            tag = update_counter.cur_iteration
            self._save(tag, self.config.save_weights, latest=self.config.save_latest_weights)

    def after_training(self, *, update_counter: UpdateCounter) -> None:
        self._save("last", self.config.save_last_weights)

    def _save(self, tag: object, weights: bool, *, latest: bool = False) -> None:
        for factor in self.averages if weights or latest else ():
            self.checkpoint_writer.save(
                model=self.averaged(factor),
                checkpoint_tag=tag,
                save_weights=weights,
                save_optim=False,
                save_latest_weights=latest,
                model_info=f"ema={factor}",
            )

    def averaged(self, factor: str) -> nn.Module:
        """A copy of the model with the averages of a factor."""
        model: nn.Module = deepcopy(self.model)
        model.load_state_dict(self.averages[factor])
        return model

    def state_dict(self) -> dict[str, Any]:
        return {"averages": self.averages}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.averages = state_dict["averages"]


# --- stopping ------------------------------------------------------------------------------------


class MetricEarlyStopperConfig(CallBackBaseConfig):
    """Configuration of `MetricEarlyStopper`."""

    metric_key: str
    """The metric, as it is written."""
    tolerance: int
    """How often it may not improve before training ends; at least 1."""


class MetricEarlyStopper(_Judging, EarlyStopperBase):
    """Ends training when a metric has not improved for some time."""

    def __init__(self, callback_config: MetricEarlyStopperConfig, **provided: Any) -> None:
        super().__init__(callback_config, **provided)
        self.metric_key, self.tolerance = callback_config.metric_key, callback_config.tolerance
        if self.tolerance < 1:
            raise ConfigurationError(
                f"tolerance={self.tolerance} lets no value pass",
                expected="1 or more",
                option="tolerance",
            )
        self.waiting: Patience | None = None
        self._state: dict[str, Any] | None = None

    def _should_stop(self, *, update_counter: UpdateCounter) -> bool:
        if self.waiting is None:
            self.waiting = Patience(self.mode, self.tolerance, check_finite=False)
            if self._state is not None:
                self.waiting.load_state_dict(self._state)
        return self.waiting.judge(self.written(self.metric_key)).exhausted

    def state_dict(self) -> dict[str, Any] | None:
        return self._state if self.waiting is None else self.waiting.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.waiting, self._state = None, state_dict


class FixedEarlyStopperConfig(CallBackBaseConfig):
    """Configuration of `FixedEarlyStopper`: exactly one of the three."""

    stop_at_epoch: int | None = None
    stop_at_update: int | None = None
    stop_at_sample: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("stop_at_epoch", "stop_at_update", "stop_at_sample")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ConfigurationError(
                "training is to end at one point",
                expected="exactly one of " + ", ".join(names),
                received=", ".join(given) or "none",
            )


class FixedEarlyStopper(EarlyStopperBase):
    """Ends training at an epoch, an update or a sample, when it is due next."""

    def __init__(self, callback_config: FixedEarlyStopperConfig, **provided: Any) -> None:
        super().__init__(callback_config, **provided)
        self.config = callback_config

    def _should_stop(self, *, update_counter: UpdateCounter) -> bool:
        c, config = update_counter, self.config
        pairs = (
            (c.epoch, config.stop_at_epoch),
            (c.update, config.stop_at_update),
            (c.sample, config.stop_at_sample),
        )
        return any(end is not None and (done or 0) >= end for done, end in pairs)
