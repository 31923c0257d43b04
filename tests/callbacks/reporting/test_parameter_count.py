from __future__ import annotations

from trackside.callbacks.reporting.parameter_count import ParameterCount
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.testing import tiny_regression


class Freeze(Callback):
    def on_epoch_start(self, run: Run) -> None:
        bias = list(run.model.parameters())[-1]
        bias.requires_grad_(run.progress.epochs_completed > 1)


def test_parameters_are_counted_once_per_change() -> None:
    task = tiny_regression()
    trainer = task.trainer(callbacks=[Freeze(), ParameterCount()])

    history = trainer.fit(task.train, epochs=4).history

    assert history.points("parameters/trainable", "epoch") == [(1, 2.0), (3, 3.0)]
    assert history.values("parameters/total") == [3.0, 3.0]
