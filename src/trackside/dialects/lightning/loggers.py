"""`trainer.logger`: the run's own trackers, under the names of a logger of theirs."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trackside.dialects.lightning.experiment import Experiment
from trackside.dialects.values import is_number
from trackside.dialects.view import View

if TYPE_CHECKING:
    from trackside.dialects.lightning.trainer import TrainerView


PACKAGES = {"lightning": "lightning.pytorch", "pytorch_lightning": "pytorch_lightning"}
"""Where their loggers are."""


class LoggerView(View):
    """Stands for a logger: what it is given goes to every tracker of the run.

    Args:
        trainer: The view it belongs to.
    """

    dialect = "lightning"
    stands_for = "Logger"
    refuses_settings = True
    instead = {
        "log_image": "`logger.experiment.add_image(name, image)`, or `run.emit(Media.on_picture, "
        "name, picture)` in a `trackside.Callback`",
        "log_table": "`run.emit(Media.on_table, name, table)`, in a `trackside.Callback`",
        "log_text": "`logger.experiment.add_text(name, text)`",
        "log_graph": "the callbacks `ModelSummary` and `GraphReport` show the model",
        "watch": "the callback `Histograms` records parameters and gradients",
    }

    def __init__(self, trainer: TrainerView) -> None:
        super().__init__()
        vars(self)["_trainer"] = trainer
        self.look_at(trainer.run)

    # `isinstance(trainer.logger, TensorBoardLogger)` holds: `experiment` has its writer's methods.
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        trainer = vars(self).get("_trainer")
        package = PACKAGES.get(vars(trainer).get("package", ""), "") if trainer else ""
        module = sys.modules.get(f"{package}.loggers.tensorboard")
        return LoggerView if module is None else module.TensorBoardLogger

    @property
    def experiment(self) -> Experiment:
        """Takes numbers, pictures, histograms and texts, and gives them to every tracker."""
        return Experiment(vars(self)["_trainer"])

    @property
    def name(self) -> str:
        """Name of the folder that has the run's."""
        return self.run.directory.resolve().parent.name

    @property
    def version(self) -> str:
        """Name of the run's folder."""
        return self.run.directory.name

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self.run.directory)

    log_dir = root_dir = save_dir

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers: the next record has them, at its own step."""
        for name, value in metrics.items():
            if is_number(value):
                vars(self)["_trainer"].log(name, value)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Say that every tracker has the configuration of the run, and nothing else."""
        if not self.shared.get("__told_hyperparams__"):
            self.shared["__told_hyperparams__"] = True
            warnings.warn(
                "`logger.log_hyperparams` adds nothing: trackers have the configuration of the run",
                stacklevel=3,
            )

    def save(self) -> None:
        """Do nothing: trackers write as they go."""

    def finalize(self, status: str) -> None:
        """Do nothing: the run closes its trackers, however it ends."""
