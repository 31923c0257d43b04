"""LRScheduler: any of torch's learning-rate schedulers, after each step or epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, final

from trackside.callbacks.scheduling.torch_schedulers import factory, is_plateau
from trackside.errors import UnknownOptimizerError
from trackside.history import Record
from trackside.lifecycle.hooks import Callback
from trackside.run import Rollback, Run
from trackside.step.optimization import Scheduler, Scheduling
from trackside.step.scheduler_state import restore_schedulers
from trackside.vocabulary.renamed import refuses_old_names


@final
@refuses_old_names
class LRScheduler(Callback):
    """Moves the learning rate by a scheduler of torch's, or one with the same interface.

    What `Trainer(scheduler=...)` does, from a list of callbacks or a configuration file. The
    scheduler's state is part of a checkpoint.

    Args:
        scheduler: Name of a class in `torch.optim.lr_scheduler`, as it is or in short
            (`CosineAnnealingLR`, `cosine_annealing`), or `warmup_stable_decay`; or a function of
            the optimizer, or of `optimizer, run`, for `run.limit.total_steps`.
        options: Passed on to it, such as `{"T_max": 100}`.
        interval: Whether it moves after each `step` or each `epoch`. None: as its kind does;
            `OneCycleLR`, `CyclicLR`, `warmup_stable_decay` and those of transformers per step,
            others per epoch.
        monitor: What `ReduceLROnPlateau` watches: it moves whenever that is recorded. None takes
            `val/loss`.
        optimizer: Name of the optimizer, where there are several; None takes each of them.

    Raises:
        ConfigurationError: No such scheduler or optimizer, or it doesn't take these options.

    Example:
        >>> LRScheduler("one_cycle", {"max_lr": 0.1, "total_steps": 1000})
    """

    effect = "steers"

    def __init__(
        self,
        scheduler: str | Callable[..., Any],
        options: Mapping[str, Any] | None = None,
        *,
        interval: Literal["step", "epoch"] | None = None,
        monitor: str | None = None,
        optimizer: str | None = None,
    ) -> None:
        plateau = is_plateau(scheduler)
        self._spec = Scheduler(factory(scheduler, options or {}), interval, monitor)
        self.optimizer = optimizer
        if plateau or monitor is not None:
            self.monitors = (monitor or "val/loss",)
        self._schedulings: dict[str, Scheduling] = {}
        self._loaded: dict[str, Any] = {}
        self._epochs_closed = 0

    @property
    def schedulers(self) -> dict[str, Any]:
        """The schedulers by name of their optimizer, once training begins."""
        return {name: one.scheduler for name, one in self._schedulings.items()}

    @property
    def schedulings(self) -> Mapping[str, Scheduling]:
        """The schedulers, and when they move, by name of their optimizer."""
        return self._schedulings

    def on_optimizers_ready(self, run: Run) -> None:
        # Before a checkpoint is loaded: making a scheduler sets the optimizer's rates.
        if self.optimizer is not None and self.optimizer not in run.optimizers:
            raise UnknownOptimizerError.among(
                run.optimizers, self.optimizer, "to schedule", option="optimizer"
            )
        names = [self.optimizer] if self.optimizer is not None else list(run.optimizers)
        self._schedulings = {
            name: Scheduling(self._spec, run.optimizers[name], run) for name in names
        }

    def on_fit_start(self, run: Run) -> None:
        self._epochs_closed = run.progress.epochs_closed

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        self._epochs_closed = run.progress.epochs_closed

    def on_step_end(self, run: Run) -> None:
        if not run.step_was_skipped:
            for scheduling in self._schedulings.values():
                scheduling.after_step()

    def on_log(self, run: Run, record: Record) -> None:
        for scheduling in self._schedulings.values():
            scheduling.after_record(record.values)

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        # It also comes when an epoch is left in its middle: then the epoch isn't over.
        if run.progress.epochs_closed > self._epochs_closed:
            self._epochs_closed = run.progress.epochs_closed
            for scheduling in self._schedulings.values():
                scheduling.after_epoch(metrics, run.data)

    def state_dict(self) -> dict[str, Any]:
        if not self._schedulings:
            return self._loaded
        return {name: one.scheduler.state_dict() for name, one in self._schedulings.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if not self._schedulings:
            self._loaded = state
        else:
            restore_schedulers(self.schedulers, state)
