"""Their methods that Trackside calls by other names: taken where a subclass overrides them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.utils.data import DataLoader

from trackside.dialects.view import so_far
from trackside.run import Run
from trackside.step.optimization import Scheduler
from trackside.step.output import default_step

_SAMPLES = 32
"""Of a batch where `fit` isn't given a `batch_size`, as everywhere."""


class Stepping:
    """A scheduler that is moved by the trainer's `scheduler_step`.

    Args:
        scheduler: The scheduler itself.
        step: Moves it.
    """

    def __init__(self, scheduler: Any, step: Callable[[], object]) -> None:
        self.scheduler = scheduler
        self._step = step

    def step(self, *_: Any) -> None:
        """Have the trainer move it."""
        self._step()

    def __getattr__(self, name: str) -> Any:
        if name == "scheduler":
            raise AttributeError(name)
        return getattr(self.scheduler, name)


class OverridableMethods:
    """The part of `TrainerMethods` for steps, schedulers and loaders.

    `backward_step`, `optimizer_step`, `scheduler_step` and `create_scheduler` may be overridden as
    there, and call `super()`. `optimizer_zero_grad` is called before the gradients are dropped,
    which happens in any case.
    """

    view: Any
    collate_fn: Callable[[list[Any]], Any] | None = None
    """Makes a batch of samples; None takes torch's way."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = vars(cls)
        if "backward_step" in own and "backward" not in own:
            setattr(cls, "backward", _backward)  # noqa: B010 - it isn't declared here
        if "optimizer_step" in own and own["optimizer_step"].__code__.co_argcount == 1:
            cls._own_optimizer_step = own["optimizer_step"]
            setattr(cls, "optimizer_step", _optimizer_step)  # noqa: B010 - of another signature
        if "optimizer_zero_grad" in own and "on_zero_grad_start" not in own:
            setattr(cls, "on_zero_grad_start", _on_zero_grad_start)  # noqa: B010 - a hook

    _own_optimizer_step: Callable[[Any], object] | None = None
    _at_work: Optimizer | None = None
    """The optimizer that the loop is at."""

    @property
    def _running(self) -> Run | None:
        run: Run | None = vars(self).get("_current_run")
        return run

    def _has(self, name: str) -> bool:
        return self._running is not None and bool(so_far(self._running, name))

    # --- steps ---------------------------------------------------------------------------------

    def backward_step(self, loss: Any) -> None:
        """Add the gradients of the loss, which is divided by the batches of a step."""
        loss.backward()

    @default_step
    def optimizer_step(self, run: Any = None, optimizer: Any = None) -> None:
        """Apply the gradients; Trackside gives the run and the optimizer."""
        (optimizer or self._at_work or self.optimizer).step()

    def optimizer_zero_grad(self) -> None:
        """Before the gradients are dropped."""

    def scheduler_step(self) -> None:
        """Move the scheduler, if there is one: after each update."""
        if self.scheduler is not None:
            self.scheduler.step()

    # --- optimizer and scheduler ----------------------------------------------------------------

    @property
    def optimizer(self) -> Any:
        """During a run, the optimizer at work; before, what the trainer was given."""
        return self.view.optimizer if self._has("optimizers") else vars(self).get("_optimizer")

    @optimizer.setter
    def optimizer(self, optimizer: Any) -> None:
        vars(self)["_optimizer"] = optimizer

    def create_scheduler(self) -> Any:
        """A scheduler of `self.optimizer`, made by the function that the trainer was given."""
        given: Any = vars(self).get("_scheduler")
        make = given.factory if isinstance(given, Scheduler) else given
        return make(self.optimizer)

    @property
    def scheduler(self) -> Any:
        """During a run, the scheduler; before, how one is made and when it moves."""
        if self._has("schedulings"):
            found = self.view.scheduler
            return found.scheduler if isinstance(found, Stepping) else found
        given, theirs = vars(self).get("_scheduler"), OverridableMethods
        creates = type(self).create_scheduler is not theirs.create_scheduler
        moves = type(self).scheduler_step is not theirs.scheduler_step
        if not creates and (given is None or not moves):
            return given

        def make(optimizer: Optimizer) -> Any:
            made = self.create_scheduler()
            return Stepping(made, self.scheduler_step) if moves else made

        return Scheduler(make, interval="step")

    @scheduler.setter
    def scheduler(self, scheduler: Any) -> None:
        vars(self)["_scheduler"] = scheduler

    # --- data ----------------------------------------------------------------------------------

    def create_train_dataloader(
        self, batch_size: int, train_dl_kwargs: dict[str, Any] | None = None
    ) -> Any:
        """A loader of `self.train_dataset`, shuffled unless the options say otherwise."""
        return self._loader(self.train_dataset, batch_size, True, train_dl_kwargs)

    def create_eval_dataloader(
        self, batch_size: int, eval_dl_kwargs: dict[str, Any] | None = None
    ) -> Any:
        """A loader of `self.eval_dataset`."""
        return self._loader(self.eval_dataset, batch_size, False, eval_dl_kwargs)

    def _loader(self, data: Any, size: int, shuffle: bool, options: dict[str, Any] | None) -> Any:
        chosen = {"batch_size": size, **(options or {})}
        if not {"sampler", "batch_sampler"} & chosen.keys():
            chosen.setdefault("shuffle", shuffle)
        return DataLoader(data, collate_fn=self.collate_fn, **chosen)

    @property
    def train_dataset(self) -> Any:
        """The data that `fit` was given to train on."""
        return vars(self).get("_train_dataset")

    @property
    def eval_dataset(self) -> Any:
        """The data that `fit` or `evaluate` was given to evaluate."""
        return vars(self).get("_eval_dataset")

    def fit(self, train: Any, validation: Any = None, **options: Any) -> Any:
        """As `Trainer.fit`; loaders are made by `create_train_dataloader` and the other one.

        Each of them is called where a subclass overrides it, or where `collate_fn` is set.
        """
        vars(self).update(_train_dataset=train, _eval_dataset=validation)
        size = options.get("batch_size") or _SAMPLES
        if self._makes("create_train_dataloader"):
            train = self.create_train_dataloader(size)
        if validation is not None and self._makes("create_eval_dataloader"):
            validation = self.create_eval_dataloader(size)
        if isinstance(train, DataLoader) and isinstance(validation, (DataLoader, type(None))):
            options.pop("batch_size", None)
        return super().fit(train, validation, **options)  # type: ignore[misc]

    def evaluate(self, data: Any, **options: Any) -> Any:
        """As `Trainer.evaluate`; the loader is made by `create_eval_dataloader`, as for `fit`."""
        vars(self).update(_eval_dataset=data)
        if self._makes("create_eval_dataloader"):
            data = self.create_eval_dataloader(options.pop("batch_size", None) or _SAMPLES)
        return super().evaluate(data, **options)  # type: ignore[misc]

    def _makes(self, name: str) -> bool:
        own = getattr(type(self), name) is not getattr(OverridableMethods, name)
        return own or self.collate_fn is not None


def _backward(self: Any, run: Any, loss: Any) -> None:
    """Trackside's `backward`, by theirs."""
    self.backward_step(loss)


def _optimizer_step(self: Any, run: Any = None, optimizer: Any = None) -> None:
    """Trackside's `optimizer_step`, by theirs, which has no arguments."""
    self._at_work = optimizer or self._at_work
    self._own_optimizer_step()


def _on_zero_grad_start(self: Any, run: Any, optimizer: Any) -> None:
    """Trackside's hook, by theirs."""
    self.optimizer_zero_grad()
