"""A trainer whose steps are those of a `LightningModule`: `Trainer(MyModule())`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from trackside.dialects.lightning.loaders import Later, OneAfterAnother, gives, is_datamodule
from trackside.dialects.lightning.logged import ModuleLog, watched_name
from trackside.dialects.lightning.module_hooks import ModuleAdapter
from trackside.dialects.lightning.optimizing import as_schedulings, configured
from trackside.dialects.lightning.states import stage_of_data
from trackside.dialects.lightning.strategy import LOSS
from trackside.dialects.lightning.trainer import (
    DATAMODULE,
    MODULE,
    RETURNED,
    SCHEDULER_SETTINGS,
    SCHEDULERS,
    TrainerView,
)
from trackside.dialects.lightning.unsupported import (
    own_methods,
    refuse_by_hand,
    refuse_ranks_by_hand,
    refuse_unsupported,
)
from trackside.errors import ConfigurationError, LossError, UsageError
from trackside.lifecycle import adoption
from trackside.lifecycle.hooks import Callback
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.step.output import Output


class ModuleSteps:
    """The part of a trainer that calls the methods of a `LightningModule`.

    It comes before `Trainer` among the bases of a class that is made for it.
    """

    model: Any
    clip: Any
    precision: str
    _hooks: ModuleAdapter
    _log: ModuleLog
    _sets: dict[str, Any]
    _datamodule: Any = None
    _is_set_up = False
    _predicted = 0
    _handles: Iterable[Any] = ()

    def __init__(self, model: Any, **options: Any) -> None:
        refused = [name for name in ("loss", "optimizer", "scheduler") if options.get(name)]
        if refused:
            raise ConfigurationError(
                f"{refused[0]}=... has no effect beside a LightningModule, which has its own",
                expected="`training_step` and `configure_optimizers` of the module",
                remedy="leave it out, or give a plain `nn.Module`",
                option=refused[0],
            )
        refuse_unsupported(model)
        self._hooks, self._own = ModuleAdapter(model), own_methods(model)
        self._taken: dict[str, int] = {}
        self._view = TrainerView()
        super().__init__(model, **options)  # type: ignore[call-arg]
        if self.manual_optimization:
            refuse_by_hand(self.clip, self.precision)

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Values that nobody misses: a step of an evaluation may have no loss."""
        return tuple(f"{name}/loss" for name in self._sets if name != "train")

    # --- data and the three runs ---------------------------------------------------------------

    def fit(self, train: Any = None, validation: Any = None, **options: Any) -> Any:
        """As `Trainer.fit`; data may be a `LightningDataModule`, or the module's own loaders."""
        self._datamodule = train if is_datamodule(train) else None
        if train is None or self._datamodule is not None:
            sources = (self._datamodule, self.model)
            train = Later("train")
            if validation is None and any(one is not None and gives(one, "val") for one in sources):
                validation = Later("val")
        return super().fit(train, validation, **options)  # type: ignore[misc]

    def evaluate(self, data: Any = None, *, name: str = "test", **options: Any) -> Any:
        """As `Trainer.evaluate`; data as for `fit`."""
        self._datamodule = data if is_datamodule(data) else None
        if data is None or self._datamodule is not None:
            data = Later("val" if stage_of_data(name) == "validate" else "test")
        return super().evaluate(data, name=name, **options)  # type: ignore[misc]

    def predict(self, data: Any = None, **options: Any) -> Any:
        """As `Trainer.predict`; data as for `fit`."""
        self._datamodule = data if is_datamodule(data) else None
        if data is None or self._datamodule is not None:
            data = Later("predict")
        return super().predict(data, **options)  # type: ignore[misc]

    def _live(self, mode: Any, sets: dict[str, Any], *rest: Any, **more: Any) -> Any:
        self._sets = dict(sets)
        return super()._live(mode, self._sets, *rest, **more)  # type: ignore[misc]

    # --- the life of a run ---------------------------------------------------------------------

    def configure_callbacks(self) -> Iterable[Any] | Mapping[str, Any]:
        """The hooks of the module, before those of callbacks; then those of the trainer's class."""
        own: Any = super().configure_callbacks()  # type: ignore[misc]
        if isinstance(own, Mapping):
            return {self._hooks.default_name: self._hooks, **own}
        return [self._hooks, *own]

    def on_configure_start(self, run: Run) -> None:
        """Set the module and its data up; it sees its trainer from here on."""
        self._view.look_at(run)
        shared, module, datamodule = self._view.shared, self.model, self._datamodule
        shared[MODULE], shared[DATAMODULE] = module, datamodule
        self._log = self._hooks.log = ModuleLog(run, self._view)
        module.trainer, vars(module)["log"] = self._view, self._log
        self._is_set_up, self._predicted = True, 0
        stage = self._stage(run)
        for part in (datamodule, module):
            if part is not None:
                if part is datamodule:
                    part.trainer = self._view
                if run.world.local_rank == 0:
                    part.prepare_data()
                run.world.barrier()
                part.setup(stage)
        if "configure_model" in self._own:
            module.configure_model()
        for name, data in self._sets.items():
            if isinstance(data, Later):
                self._sets[name] = data.made((datamodule, module))
        super().on_configure_start(run)  # type: ignore[misc]

    def _stage(self, run: Run) -> str:
        names = [name for name in self._sets if run.mode == "evaluate"]
        return stage_of_data(names[0]) if names else run.mode

    def on_close(self, run: Run, outcome: Outcome) -> None:
        """Tear the module and its data down, and let it go."""
        try:
            super().on_close(run, outcome)  # type: ignore[misc]
        finally:
            self._let_go()

    def _let_go(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = ()
        if not self._is_set_up:
            return
        self._is_set_up = False
        try:
            for part in (self.model, self._datamodule):
                if part is not None:
                    part.teardown(self._stage(self._view.run))
        finally:
            vars(self.model).pop("log", None)
            self.model.trainer = None

    def on_exception(self, run: Run, error: BaseException) -> None:
        """Tell the module's data of an error, where it wants to know."""
        try:
            if self._datamodule is not None and hasattr(self._datamodule, "on_exception"):
                self._datamodule.on_exception(error)
        finally:
            super().on_exception(run, error)  # type: ignore[misc]

    # --- optimizers ----------------------------------------------------------------------------

    @property
    def manual_optimization(self) -> bool:
        """Whether the module makes its updates by hand."""
        return not self.model.automatic_optimization

    def configure_optimizers(self, run: Run) -> Mapping[str, Optimizer]:
        """The optimizers of the module; its schedulers are kept for the loop."""
        made = configured(self.model.configure_optimizers())
        self._view.shared[SCHEDULER_SETTINGS] = made.schedulers
        if self.manual_optimization:
            refuse_ranks_by_hand(run.world.size)
            self._by_hand(run, made.optimizers)
            self._view.shared[SCHEDULERS] = [one["scheduler"] for one in made.schedulers]
            return made.named
        if len(made.optimizers) > 1:
            raise ConfigurationError(
                "a LightningModule with several optimizers says itself when each moves",
                expected="`self.automatic_optimization = False` in its `__init__`",
                received=f"{len(made.optimizers)} optimizers",
                option="optimizer",
            )
        place = next((name for name in self._sets if name != "train"), "train")
        self.scheduler = as_schedulings(made, lambda name: watched_name(name, place)) or None
        return made.named

    def _by_hand(self, run: Run, optimizers: Iterable[Optimizer]) -> None:
        """Fire the hooks around updates that the module makes."""

        def before(optimizer: Optimizer, *_: Any) -> None:
            run.emit(Callback.on_optimizer_step_start, optimizer)

        def after(optimizer: Optimizer, *_: Any) -> None:
            run.emit(Callback.on_optimizer_step_end, optimizer)

        self._handles = [
            handle
            for one in optimizers
            for handle in (one.register_step_pre_hook(before), one.register_step_post_hook(after))
        ]

    # --- steps ---------------------------------------------------------------------------------

    def training_step(self, run: Run, batch: Any) -> Output:
        """The loss of the module's `training_step`."""
        log, shared = self._log, self._view.shared
        log.begin_batch()
        index = run.progress.epoch_batches_completed
        with self._view.in_batch():
            returned = shared[RETURNED] = self._call("training_step", batch, index)
        loss = _loss_in(returned)
        if loss is None and self.manual_optimization:
            loss = shared.pop(LOSS, None)
        if loss is None:
            raise LossError(
                "the `training_step` of the LightningModule returned no loss",
                expected="a tensor, or a mapping with the key 'loss'",
                received=type(returned).__name__,
                remedy="to leave a batch out, return `0 * loss`"
                if not self.manual_optimization
                else "call `self.manual_backward(loss)`, or return the loss",
            )
        if log.loss is not None and log.loss.data_ptr() != loss.data_ptr():
            run.log("logged/train_loss", log.loss)
        shared[LOSS] = loss.detach()
        return Output(loss)

    def evaluation_step(self, run: Run, batch: Any) -> Output:
        """The loss that `validation_step` or `test_step` of the module logs, or returns."""
        evaluation, log = run.evaluation, self._log
        assert evaluation is not None  # it is under way
        log.begin_batch()
        index = evaluation.batches_completed
        data = run.data[evaluation.name].data
        if isinstance(data, OneAfterAnother):
            log.loader, index = data.index, index - data.first
        is_test = run.mode == "evaluate" and stage_of_data(evaluation.name) == "test"
        name = "test_step" if is_test else "validation_step"
        returned = self._view.shared[RETURNED] = self._call(name, batch, index)
        loss = _loss_in(returned) if log.loss is None else log.loss
        if loss is None:
            return Output(_nothing(run), weight=0.0)
        return Output(loss)

    def predict_step(self, run: Run, batch: Any) -> Any:
        """The predictions of the module's `predict_step`."""
        self._predicted += 1
        return self._call("predict_step", batch, self._predicted - 1)

    def _call(self, name: str, batch: Any, index: int) -> Any:
        """A step of the module, with the arguments that it has."""
        if name != "predict_step" and name not in self._own:
            raise UsageError(
                f"`{type(self.model).__name__}` has no `{name}`", expected=f"a method `{name}`"
            )
        step = getattr(self.model, name)
        taken = self._taken.get(name)
        if taken is None:
            taken = self._taken[name] = positions(step)
        loader = self._log.loader
        if loader is not None:
            return step(batch, index, loader)
        return step(batch, *(index, 0)[: taken - 1])


def backward(steps: Any, run: Run, loss: Tensor) -> None:
    """Add the gradients of `loss`, as a module does that says how."""
    steps.model.backward(loss)


def optimizer_step(steps: Any, run: Run, optimizer: Optimizer) -> None:
    """Apply the gradients, as a module does that says how; its closure gives the loss alone."""
    view = steps._view
    index, loss = run.progress.epoch_batches_completed - 1, view.shared[LOSS]
    steps.model.optimizer_step(view.current_epoch, index, optimizer, lambda: loss)


BY_MODULE: Mapping[str, Any] = {"backward": backward, "optimizer_step": optimizer_step}
"""Steps that are the loop's own, unless the module overrides them."""

STEPS = ("training_step", "evaluation_step", "predict_step", "configure_optimizers")
"""Steps that are always the module's."""


def trainer_class(kind: type, model: object) -> type | None:
    """A subclass of the trainer `kind` with the steps of `model`; None for other models.

    Raises:
        ConfigurationError: The class of a module was given.
    """
    if not _is_module(model if isinstance(model, type) else type(model)):
        return None
    if isinstance(model, type):
        raise ConfigurationError(
            f"the model is the class `{model.__name__}` of a LightningModule",
            expected="the module itself",
            remedy=f"`Trainer({model.__name__}(...))`",
            option="model",
        )
    if issubclass(kind, ModuleSteps):
        return kind
    own = own_methods(model)
    steps = {name: step for name, step in BY_MODULE.items() if name in own}
    _refuse_steps_of(kind, model, {*STEPS, *steps})
    return type(kind.__name__, (ModuleSteps, kind), {"__module__": kind.__module__, **steps})


def _refuse_steps_of(kind: type, model: object, taken: set[str]) -> None:
    """Refuse steps that a trainer's class has as well: those of the model are called."""
    for cls in kind.__mro__:
        ours = cls.__module__.partition(".")[0] in ("trackside", "builtins", "typing")
        for name in () if ours else sorted(taken & vars(cls).keys()):
            raise ConfigurationError(
                f"`{cls.__name__}.{name}` would never be called: the LightningModule "
                f"`{type(model).__name__}` has its own steps",
                remedy=f"move it into the module; or let it be a plain `nn.Module`, and "
                f"`{cls.__name__}` have all steps",
                option="model",
            )


def _is_module(kind: type) -> bool:
    return any(
        cls.__name__ == "LightningModule"
        and cls.__module__ in ("lightning.pytorch.core.module", "pytorch_lightning.core.module")
        for cls in kind.__mro__
    )


def positions(step: Any) -> int:
    """How many of batch, number of the batch, number of the loader a step takes, by position.

    Raises:
        UsageError: It takes an iterator over batches.
    """
    parameters = inspect.signature(step).parameters
    if "dataloader_iter" in parameters:
        raise UsageError(
            f"`{step.__name__}` takes an iterator over batches, and there is none here",
            expected=f"`{step.__name__}(batch, batch_idx)`",
        )
    kinds = [p.kind for p in parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return 2
    here = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return min(sum(kind in here for kind in kinds), 3)


def _loss_in(returned: Any) -> Tensor | None:
    if isinstance(returned, Mapping):
        returned = returned.get("loss")
    return returned if isinstance(returned, Tensor) and returned.numel() == 1 else None


def _nothing(run: Run) -> Tensor:
    first = next(run.model.parameters())
    return first.new_zeros(())


adoption.with_steps.append(_is_module)
adoption.trainers.append(trainer_class)
