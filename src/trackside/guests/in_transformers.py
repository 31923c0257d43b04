"""Guests in the Trainer of transformers: one callback of its kind that has ours."""

from __future__ import annotations

from collections.abc import Sized
from importlib import import_module
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from trackside.callbacks.averaging.ema import EMA
from trackside.callbacks.averaging.swa import SWA
from trackside.errors import UsageError
from trackside.guests.evaluation import PREFIXES, numbers
from trackside.guests.guest import Guest
from trackside.progress import RunLimit
from trackside.schedule import Schedule

FIRED = (
    "on_step_start",
    "on_step_end",
    "on_optimizer_step_start",
    "on_optimizer_step_end",
)


def transformers(
    *callbacks: Any,
    directory: str | Path | None = None,
    log_every: Schedule | str = "50 steps",
) -> Any:
    """A callback of transformers in which callbacks of Trackside are guests.

    Args:
        callbacks: Callbacks of Trackside.
        directory: The run's folder; None makes a new one under `runs/`.
        log_every: How often what callbacks measure is recorded. The trainer's own values are
            recorded when it logs them.

    Returns:
        For `callbacks` of the Trainer. It says nothing of errors: with `with`, everything is closed
        as the block ends.

    Raises:
        ImportError: transformers is not installed.
        UsageError: A callback saves the run; see `trackside.resume`.

    Example:
        >>> with guests.transformers(EarlyStopping("val/loss"), CSVLogger()) as guest:
        ...     transformers.Trainer(model, arguments, callbacks=[guest]).train()
    """
    guest = Guest("transformers", callbacks, fired=FIRED, directory=directory, log_every=log_every)
    late = [one for one in callbacks if puts_averages_in(one)]
    if late:
        raise UsageError(
            f"`{type(late[0]).__name__}` can't put averages in for evaluations of transformers, "
            "which speaks of one when it is over",
            remedy="give it evaluate=False",
        )
    base = import_module("transformers").TrainerCallback
    return type("Guests", (_InTransformers, base), {})(guest)


class _InTransformers:
    """The callback; that of transformers comes with it."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self._samples = 0

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: Any) -> None:
        self.guest.__exit__(*error)

    def on_train_begin(self, args: Any, state: Any, control: Any, **parts: Any) -> Any:
        """Training begins."""
        self._samples = args.train_batch_size
        self.guest.attach(parts["model"])
        optimizer, batches = _of_torch(parts.get("optimizer")), parts.get("train_dataloader")
        per_epoch = len(batches) if isinstance(batches, Sized) else None
        made = -(-state.max_steps // max(state.num_train_epochs, 1))
        self.guest.begin(
            {} if optimizer is None else {"optimizer": optimizer},
            per_epoch,
            RunLimit(None, state.max_steps),
            accumulate=args.gradient_accumulation_steps,
            done=(state.global_step, state.global_step // made if made else 0),
        )
        return self._answer(control)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """An epoch begins."""
        self.guest.epoch_start()

    def on_step_begin(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """A step begins."""
        if self.guest.engine is not None:
            self.guest.engine.begin_step()

    def on_substep_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """A batch is over, and no step."""
        if self.guest.engine is not None:
            self.guest.engine.count_batch(self._samples)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """The gradients are final, and clipped."""
        optimizer = _of_torch(parts.get("optimizer"))
        if self.guest.engine is not None and optimizer is not None:
            self.guest.engine.before_update(optimizer)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """The weights are updated."""
        optimizer = _of_torch(parts.get("optimizer"))
        if self.guest.engine is not None and optimizer is not None:
            self.guest.engine.after_update(optimizer)

    def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> Any:
        """A step is over."""
        if self.guest.engine is not None:
            self.guest.engine.count_batch(self._samples)
            self.guest.step_end()
        return self._answer(control)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **parts: Any) -> Any:
        """Values of training are recorded; those of an evaluation come with it."""
        if self.guest.engine is None or not logs:
            return None
        found = {k: v for k, v in numbers(logs).items() if k.split("_")[0] not in PREFIXES}
        known = {k: v for k, v in found.items() if k not in ("epoch", "step")}
        self.guest.record({f"train/{k.removeprefix('train_')}": v for k, v in known.items()})
        return self._answer(control)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **parts: Any
    ) -> Any:
        """An evaluation is over."""
        if self.guest.engine is not None:
            self.guest.evaluation_start()
            found = {k: v for k, v in (metrics or {}).items() if k != "epoch"}
            self.guest.evaluation_end(found)
        return self._answer(control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **parts: Any) -> Any:
        """The training of an epoch is over; its evaluation follows."""
        self.guest.pass_end()
        return self._answer(control)

    def on_train_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Training is over."""
        if self.guest.engine is not None and not self.guest.stopping:
            self.guest.epoch_end()
        self.guest.finish()

    def _answer(self, control: Any) -> Any:
        if self.guest.stopping:
            control.should_training_stop = True
        return control


def _of_torch(optimizer: Any) -> Optimizer | None:
    """The optimizer of torch that accelerate has wrapped."""
    inner = getattr(optimizer, "optimizer", optimizer)
    return inner if isinstance(inner, Optimizer) else None


def puts_averages_in(callback: object) -> bool:
    """Whether it evaluates with averages in the place of the weights."""
    if isinstance(callback, EMA):
        return callback.evaluated_decay is not None
    return isinstance(callback, SWA) and bool(callback.evaluate)
