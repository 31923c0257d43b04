"""Guests in Keras, over torch: one callback of Keras that has ours."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from trackside.errors import UsageError
from trackside.guests.evaluation import numbers
from trackside.guests.guest import Guest
from trackside.progress import RunLimit
from trackside.schedule import Schedule

FIRED = ("on_step_start", "on_step_end")


def keras(
    *callbacks: Any,
    directory: str | Path | None = None,
    log_every: Schedule | str = "50 steps",
) -> Any:
    """A callback of Keras in which callbacks of Trackside are guests; the backend is torch.

    Args:
        callbacks: Callbacks of Trackside.
        directory: The run's folder; None makes a new one under `runs/`.
        log_every: How often what callbacks measure is recorded. Values of Keras are recorded at the
            end of each epoch.

    Returns:
        For `callbacks` of `fit`. It says nothing of errors: with `with`, everything is closed as
        the block ends.

    Raises:
        ImportError: Keras is not installed.
        UsageError: A callback saves the run.

    Example:
        >>> with guests.keras(EarlyStopping("val/loss"), CSVLogger()) as guest:
        ...     model.fit(inputs, targets, validation_split=0.2, callbacks=[guest])
    """
    guest = Guest("Keras", callbacks, fired=FIRED, directory=directory, log_every=log_every)
    base = import_module("keras").callbacks.Callback
    return type("Guests", (_InKeras, base), {})(guest)


class _InKeras:
    """The callback; that of Keras comes with it."""

    model: Any
    params: dict[str, Any]

    def __init__(self, guest: Guest) -> None:
        super().__init__()
        self.guest = guest

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: Any) -> None:
        self.guest.__exit__(*error)

    def on_train_begin(self, logs: Any = None) -> None:
        """Training begins."""
        if not isinstance(self.model, nn.Module):
            raise UsageError(
                "guests in Keras need its backend torch",
                received=type(self.model).__name__,
                remedy="set KERAS_BACKEND=torch in the environment",
            )
        self.guest.attach(self.model)
        self.guest.begin({}, self.params.get("steps"), RunLimit(self.params.get("epochs"), None))
        self._stop()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """An epoch begins."""
        self.guest.epoch_start()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """A step begins."""
        if self.guest.engine is not None:
            self.guest.engine.begin_step()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """A step is over."""
        if self.guest.engine is not None:
            self.guest.engine.count_batch(1)
            self.guest.step_end()
        self._stop()

    def on_test_begin(self, logs: Any = None) -> None:
        """An evaluation within training begins."""
        if self.guest.engine is not None:
            self.guest.evaluation_start()

    def on_test_end(self, logs: Any = None) -> None:
        """It is over."""
        self.guest.evaluation_end(numbers(logs or {}))
        self._stop()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """An epoch is over."""
        found = {k: v for k, v in numbers(logs or {}).items() if not k.startswith("val_")}
        self.guest.record({f"train/{key}": value for key, value in found.items()})
        self.guest.epoch_end()
        self._stop()

    def on_train_end(self, logs: Any = None) -> None:
        """Training is over."""
        self.guest.finish()

    def _stop(self) -> None:
        if self.guest.stopping:
            self.model.stop_training = True
