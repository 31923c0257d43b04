"""The task of the benchmarks by the trainer, and callbacks that do nothing."""

from __future__ import annotations

import tempfile
from typing import Any

from benchmarks.task import build
from trackside import Callback, Settings, Trainer
from trackside.run import Run


class Idle(Callback[Any]):
    """Overrides nothing that happens in a step."""

    def on_fit_start(self, run: Run) -> None:
        """Nothing."""


class Listening(Callback[Any]):
    """Overrides the batch's end, and does nothing there."""

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        """Nothing."""


def fit(data: list[Any], callbacks: Any = (), *, defaults: bool = False, **settings: Any) -> None:
    """The same steps by the trainer, with `settings` beside the device and the folder."""
    model, loss_function, optimizer_of = build()
    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer(
            model,
            loss=loss_function,
            optimizer=optimizer_of,
            callbacks=callbacks,
            defaults=defaults,
            settings=Settings(device="cpu", directory=directory, **settings),
        )
        trainer.fit(data, epochs=1)
