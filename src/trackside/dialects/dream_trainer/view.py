"""The view for callbacks of Dream Trainer, and the classes that they name in `Callback[...]`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trackside.dialects.dream_trainer.parameters import (
    EvaluatedMetric,
    TrainingParameters,
    WorldView,
)
from trackside.dialects.view import View, model_of, so_far, validation_name
from trackside.lifecycle.collection import CallbackCollection
from trackside.run import Run

# --- classes named in Callback[...] ------------------------------------------------------------


class Both:
    """Several classes that a callback needs of the trainer together: `A & B`."""

    def __init__(self, *parts: type) -> None:
        self.parts = parts
        self.__name__ = " & ".join(part.__name__ for part in parts)

    def __and__(self, other: Any) -> Both:
        return Both(*self.parts, *(other.parts if isinstance(other, Both) else (other,)))

    def __rand__(self, other: type) -> Both:
        return Both(other, *self.parts)

    def __repr__(self) -> str:
        return self.__name__


class Composable(type):
    """Metaclass whose classes can be joined with `&`."""

    def __and__(cls, other: Any) -> Both:
        return Both(cls).__and__(other)

    def __rand__(cls, other: Any) -> Both:
        return Both(other, cls)


class AbstractTrainer(metaclass=Composable):
    """Any trainer: what its annotations name. Subclasses are mixins that a `run_class` may have."""

    current_epoch: int
    global_step: int
    local_batches: int
    world: Any
    seed: int | None
    project: str
    experiment: str
    named_models: Callable[[], dict[str, nn.Module]]
    named_optimizers: Callable[[], dict[str, Any]]
    named_schedulers: Callable[[], dict[str, Any]]
    get_model: Callable[[str], nn.Module]
    get_name_by_model: Callable[[nn.Module], str]
    get_name_by_optimizer: Callable[[Any], str]
    get_model_by_optimizer: Callable[[str], nn.Module]
    get_optimizers_by_model: Callable[[str], list[Optimizer]]
    get_scheduler_from_optimizer: Callable[[Any], Any]
    named_rngs: Callable[[], dict[str, torch.Generator]]
    run: Run
    device: torch.device
    config: Any
    train_dataloader: Any
    val_dataloader: Any


class BaseTrainer(AbstractTrainer):
    """The usual trainer."""

    model: nn.Module
    callbacks: Any
    training: bool


class EvalMetricMixin(AbstractTrainer):
    """A trainer with metrics."""

    named_metrics: Any


class SetupMixin(AbstractTrainer):
    """A trainer whose models and optimizers have names."""

    get_name_by_model: Any
    get_name_by_optimizer: Any
    get_module: Any


class LoggerMixin(AbstractTrainer):
    """A trainer that logs; values go to every logger of the run."""

    log_scalar: Any
    log_dict: Any


class WandBLoggerMixin(LoggerMixin):
    """The same: which loggers there are is decided by the callbacks of the run."""


class QuantizeMixin(AbstractTrainer):
    """A trainer that quantizes, which no run does by itself."""

    quantize_model: Any


class DreamTrainer(BaseTrainer, EvalMetricMixin, SetupMixin, WandBLoggerMixin):
    """All of them but quantization."""


def missing_members(needed: Any, run_class: type[Run]) -> list[str] | None:
    """Members of a `needed` that a run of `run_class` lacks; None when it lacks nothing."""
    if isinstance(needed, type) and issubclass(run_class, needed):
        return None
    stand_in = STAND_INS.get(needed.__name__)
    its_own = needed.__module__.startswith("dream_trainer.")
    if stand_in is None or not (stand_in is needed or its_own):
        return [n for n in vars(needed) if not n.startswith("_")] + list(
            vars(needed).get("__annotations__", ())
        )
    provided = {*dir(TrainerView), *dir(run_class)}
    members = [
        name
        for cls in stand_in.__mro__
        for name in vars(cls).get("__annotations__", ())
        if name not in provided
    ]
    return members or None


STAND_INS: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        AbstractTrainer,
        BaseTrainer,
        DreamTrainer,
        EvalMetricMixin,
        LoggerMixin,
        QuantizeMixin,
        SetupMixin,
        WandBLoggerMixin,
    )
}
"""By name; their own classes of these names are understood as well."""


# --- the trainer -------------------------------------------------------------------------------


TRAINING = "__training__"
"""Key of whether an epoch has begun to train, and was not evaluated at its end yet."""

OVER = "__over__"
"""Key of whether training is over."""
UNCOUNTED = "__uncounted__"
"""Key of the steps and batches that the run has counted, and their trainer not yet."""


class TrainerView(View):
    """Stands for `self.trainer`: what their documents show of it, as a view of the run."""

    dialect = "dream_trainer"
    stands_for = "trainer"
    instead: ClassVar[dict[str, str]] = {
        "fit": "training is under way; to end it: `self.trainer.run.stop(reason)`",
        "global_step": "counters are the run's; look at them only",
        "current_epoch": "counters are the run's; look at them only",
        "local_batches": "counters are the run's; look at them only",
        "backward": "override `backward` of `trackside.Trainer`",
        "step": "with `manual_optimization`, `Trainer.optimize(loss, optimizer)`",
        "device_parameters": "how ranks divide the model is `Settings(strategy=...)`",
        "group": "checkpoints are those of `trackside.callbacks.Checkpoint`",
        "state_dict": "checkpoints are those of `trackside.callbacks.Checkpoint`",
        "load_state_dict": "a run goes on with `fit(..., resume=...)`",
        "model_state_dict": "weights alone are those of `trackside.callbacks.SaveWeights`",
        "log_code": "files go to trackers with `trackside.callbacks.Artifacts`",
    }

    @property
    def model(self) -> nn.Module:
        """The model; with several, the first."""
        return self.run.model

    @property
    def current_epoch(self) -> int:
        """Number of the epoch, from 0; in `post_fit`, epochs completed."""
        if self.shared.get(OVER):
            return self.run.progress.epochs_closed
        return self.epoch

    @property
    def is_sanity_validation(self) -> bool:
        """Whether a validation is under way that only tries a few batches before training."""
        return self.run.evaluation is not None and self.run.evaluation.sanity

    @property
    def global_step(self) -> int:
        """Optimizer steps completed; one counts when `post_train_step` is over."""
        return self.run.progress.steps_completed - self._uncounted[0]

    @property
    def local_batches(self) -> int:
        """Batches of this rank completed; one counts when `post_train_step` is over."""
        return self.run.progress.batches_completed - self._uncounted[1]

    @property
    def _uncounted(self) -> tuple[int, int]:
        """Steps and batches that the run has counted, and their trainer not yet."""
        found: tuple[int, int] = self.shared.get(UNCOUNTED, (0, 0))
        return found

    @contextmanager
    def behind(self, *, steps: int) -> Iterator[None]:
        """Show the counters as they are before their trainer counts a batch, and its step."""
        self.shared[UNCOUNTED] = (steps, 1)
        try:
            yield
        finally:
            self.shared[UNCOUNTED] = (0, 0)

    @property
    def training(self) -> bool:
        """Whether the batches of an epoch are under way, and not those of an evaluation."""
        return self.run.evaluation is None and bool(self.shared.get(TRAINING))

    @property
    def world(self) -> Any:
        """The ranks: `all_reduce(x, op="mean")`, `is_global_zero`, `rank`, `size`."""
        return WorldView(self.run.world)

    @property
    def training_parameters(self) -> TrainingParameters:
        """Settings of the training, to be read: `n_epochs`, `gradient_accumulation_steps`, ..."""
        return TrainingParameters(self.run)

    @property
    def _num_train_batches(self) -> int | None:
        batches: int | None = self.run.data["train"].batches
        return batches

    @property
    def _num_gradient_accumulation_steps(self) -> int:
        return self.run.accumulate

    @property
    def _num_val_steps(self) -> int | None:
        name = validation_name(self.run)
        batches: int | None = 0 if name is None else self.run.data[name].batches
        return batches

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.run.device

    @property
    def config(self) -> Any:
        """Settings of the run, as a mapping."""
        return self.run.config

    @property
    def seed(self) -> int | None:
        """Seed of the run, where it has one."""
        seed: int | None = self.run.config.get("seed")
        return seed

    @property
    def experiment(self) -> str:
        """Name of the run: that of its folder."""
        return self.run.directory.name

    @property
    def project(self) -> str:
        """Name of the folder that contains the run's folder."""
        return self.run.directory.resolve().parent.name

    @property
    def callbacks(self) -> CallbackCollection:
        """All callbacks of the run: `append`, `["Name"] = ...`, `del`."""
        return self.run.callbacks

    @property
    def train_dataloader(self) -> Any:
        """The batches that are trained on."""
        return self._loader("train")

    @property
    def val_dataloader(self) -> Any:
        """The batches of the validation, or None."""
        return self._loader(validation_name(self.run))

    def _loader(self, name: str | None) -> Any:
        source = so_far(self.run, "data").get(name or "")
        return source.loader if source is not None else None

    def named_models(self) -> dict[str, nn.Module]:
        """All models by name."""
        return dict(so_far(self.run, "models"))

    def named_optimizers(self) -> dict[str, Optimizer]:
        """All optimizers by name."""
        return dict(so_far(self.run, "optimizers"))

    def named_schedulers(self) -> dict[str, Any]:
        """All schedulers by the name of their optimizer."""
        return dict(so_far(self.run, "schedulers"))

    def named_metrics(self) -> dict[str, EvaluatedMetric]:
        """The metrics of the last evaluation by name, `loss` aside."""
        evaluation = self.shared.get("__evaluation__")
        if evaluation is None:
            return {}
        values = {**evaluation.metrics, **evaluation.results}
        names = {name: name.partition("/")[2] for name in values}
        return {n: EvaluatedMetric(values[full]) for full, n in names.items() if n != "loss"}

    def get_module(self, name: str) -> nn.Module:
        """The model, or the part of one, with a dotted name."""
        first, _, rest = name.partition(".")
        return self.run.models[first].get_submodule(rest)

    def get_name_by_model(self, model: nn.Module) -> str:
        """The name of a model. Raises `ValueError` when the run doesn't have it."""
        return _name_of(model, self.run.models)

    def get_name_by_optimizer(self, optimizer: Optimizer) -> str:
        """The name of an optimizer. Raises `ValueError` when the run doesn't have it."""
        return _name_of(optimizer, self.run.optimizers)

    def get_name_by_scheduler(self, scheduler: Any) -> str:
        """The name of a scheduler. Raises `ValueError` when the run doesn't have it."""
        return _name_of(scheduler, self.run.schedulers)

    def get_model(self, name: str) -> nn.Module:
        """The model of that name."""
        return self.run.models[name]

    def get_model_by_optimizer(self, name: str) -> nn.Module:
        """The model that the optimizer of that name trains."""
        return model_of(self.run, self.run.optimizers[name])

    def get_optimizers_by_model(self, name: str) -> list[Optimizer]:
        """The optimizers that train the model of that name."""
        model = self.run.models[name]
        return [o for o in self.run.optimizers.values() if model_of(self.run, o) is model]

    def get_scheduler_from_optimizer(self, optimizer: Optimizer) -> Any:
        """The scheduler of an optimizer, or None."""
        return self.run.schedulers.get(self.get_name_by_optimizer(optimizer))

    def named_rngs(self) -> dict[str, torch.Generator]:
        """The generator of this process; those of data and devices are the run's own business."""
        return {"torch": torch.default_generator}

    def log_scalar(self, name: str, value: Tensor | float, **_: Any) -> None:
        """Log a number; every logger of the run gets it.

        One under the name of a value that the run records itself goes under `logged/`.
        """
        evaluation = self.run.evaluation
        place = "train" if evaluation is None else evaluation.name
        topic, metric = name.split("/", 1) if "/" in name else (place, name)
        own = {"loss"} if topic == "train" else {"loss", *self.run.config.get("metrics", ())}
        recorded = topic in so_far(self.run, "data") and metric in own
        self.run.log(f"logged/{topic}_{metric}" if recorded else name, value, weight=1.0)

    def log_config(self, config: Any) -> None:
        """Do nothing: every tracker has the configuration of the run."""

    def finish(self, exit_code: int = 0) -> None:
        """Do nothing: the run closes its trackers, however it ends."""

    def log_dict(self, metrics: dict[str, Tensor | float], **_: Any) -> None:
        """Log several numbers."""
        for name, value in metrics.items():
            self.log_scalar(name, value)


def _name_of(value: object, named: Any) -> str:
    for name, candidate in named.items():
        if candidate is value:
            found: str = name
            return found
    raise ValueError(f"{type(value).__name__} isn't one of the run's: {', '.join(named)}")
