"""Guests in Lightning: one callback of Lightning that has callbacks of Trackside."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from trackside.errors import UsageError
from trackside.guests.evaluation import named, numbers
from trackside.guests.guest import OF_TRAINING, Guest
from trackside.lifecycle.hooks import Callback
from trackside.progress import RunLimit
from trackside.schedule import Schedule

FIRED = OF_TRAINING - {"on_zero_grad_start", "on_zero_grad_end"}


def lightning(
    *callbacks: Any,
    directory: str | Path | None = None,
    log_every: Schedule | str = "50 steps",
) -> Any:
    """A callback of Lightning in which callbacks of Trackside are guests.

    Args:
        callbacks: Callbacks of Trackside.
        directory: The run's folder; None makes a new one under `runs/`.
        log_every: How often values are recorded.

    Returns:
        For `callbacks` of Lightning's trainer. With `with`, everything is closed as the block ends.

    Raises:
        ImportError: Lightning is not installed.
        UsageError: A callback saves the run; see `trackside.resume`.

    Example:
        >>> host = L.Trainer(callbacks=[guests.lightning(EarlyStopping("val/loss"), CSVLogger())])
    """
    guest = Guest("Lightning", callbacks, fired=FIRED, directory=directory, log_every=log_every)
    first = "pytorch_lightning" if "pytorch_lightning" in sys.modules else "lightning.pytorch"
    package = "lightning.pytorch" if "lightning.pytorch" in sys.modules else first
    base = import_module(f"{package}.callbacks").Callback
    return type("Guests", (_InLightning, base), {})(guest)


class _InLightning:
    """The callback; Lightning's own base comes with it."""

    def __init__(self, guest: Guest) -> None:
        super().__init__()
        self.guest = guest
        self._loss: Any = None
        self._updated: list[Any] = []
        self._steps = 0
        self._before: dict[str, float] = {}
        self._of_evaluations: set[str] = set()
        self._kept: dict[str, Any] | None = None

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: Any) -> None:
        self.guest.__exit__(*error)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Callbacks join."""
        if stage != "fit":
            return
        if trainer.world_size > 1:
            raise UsageError("guests are for one process", received=f"{trainer.world_size}")
        self.guest.attach(pl_module)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Training begins."""
        made = trainer.optimizers
        names = ["optimizer"] if len(made) == 1 else [str(index) for index in range(len(made))]
        epochs = trainer.max_epochs if (trainer.max_epochs or -1) >= 0 else None
        steps = trainer.max_steps if trainer.max_steps >= 0 else None
        self._steps = trainer.global_step
        self.guest.begin(
            dict(zip(names, made, strict=True)),
            trainer.train_dataloader,
            RunLimit(epochs, steps),
            accumulate=trainer.accumulate_grad_batches,
            done=(trainer.global_step, trainer.current_epoch),
        )
        if self._kept is not None:
            self.guest.run.callbacks.load_state_dict(self._kept)
            self._kept = None
        self._stop(trainer)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """An epoch begins."""
        self.guest.epoch_start()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, number: int) -> None:
        """A batch begins."""
        self._updated.clear()
        self.guest.batch_start(batch, number)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        """The loss is known."""
        self._loss = loss
        self._training.fire(Callback.on_backward_start, loss)

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        """The gradients are there."""
        loss, self._loss = self._loss, None
        self._training.fire(Callback.on_backward_end, loss)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """The gradients are final."""
        self._updated.append(optimizer)
        if self.guest.engine is not None:
            self.guest.engine.before_update(optimizer)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, number: int
    ) -> None:
        """A batch is over, and perhaps a step."""
        engine = self.guest.engine
        if engine is None:
            return
        for optimizer in self._updated:
            engine.after_update(optimizer)
        engine.end_batch(outputs if outputs else None)
        if trainer.global_step != self._steps:
            self._steps = trainer.global_step
            self.guest.step_end()
        self._stop(trainer)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """A validation begins."""
        if self.guest.engine is not None and not trainer.sanity_checking:
            self._before = numbers(trainer.callback_metrics)
            self.guest.evaluation_start()

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, number: int, dataloader_idx: int = 0
    ) -> None:
        """A batch of a validation begins."""
        if self.guest.evaluation is not None:
            self.guest.evaluation.batch_start(batch)

    def on_validation_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        number: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A batch of a validation is over."""
        if self.guest.evaluation is not None:
            self.guest.evaluation.batch_end(batch, outputs)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """A validation is over; its values are those that have changed meanwhile."""
        if self.guest.evaluation is None:
            return
        found = numbers(trainer.callback_metrics)
        self._of_evaluations |= {k for k, v in found.items() if self._before.get(k) != v}
        self.guest.evaluation_end({k: found[k] for k in self._of_evaluations & found.keys()})
        self._stop(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """An epoch is over."""
        own = set(numbers(trainer.callback_metrics)) - self._of_evaluations - {"loss"}
        values = {k: v for k, v in numbers(trainer.callback_metrics).items() if k in own}
        named_ = {named("train", k.removeprefix("train_")): v for k, v in values.items()}
        self.guest.record({k: v for k, v in named_.items() if k != "train/loss"})
        self.guest.epoch_end()
        self._stop(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Training is over."""
        self.guest.finish()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """An error ends it."""
        self.guest.fail(exception)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """The last word of Lightning."""
        if stage == "fit":
            self.guest.close()

    def state_dict(self) -> dict[str, Any]:
        """States of the guests, for Lightning's checkpoints."""
        return self.guest.run.callbacks.state_dict() if self.guest.is_open else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restored when training begins."""
        self._kept = state_dict

    @property
    def _training(self) -> Any:
        if self.guest.engine is None:
            raise UsageError("Lightning has not said that training begins")
        return self.guest.engine.training

    def _stop(self, trainer: Any) -> None:
        if self.guest.stopping:
            trainer.should_stop = True
