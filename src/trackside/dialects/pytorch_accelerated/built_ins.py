"""The built-in callbacks of pytorch-accelerated, under their names and with their options.

from trackside.dialects.pytorch_accelerated import EarlyStoppingCallback, SaveBestModelCallback
"""

from __future__ import annotations

from typing import Any

from trackside.callbacks.reporting.progress_bar import ProgressBar
from trackside.callbacks.stopping.patience import Patience
from trackside.callbacks.stopping.terminate_on_non_finite import TerminateOnNonFinite
from trackside.dialects.pytorch_accelerated.adapter import StopTrainingError, TrainerCallback
from trackside.history import Mode, has_improved
from trackside.lifecycle.adoption import Translated


class TerminateOnNaNCallback(Translated):
    """Ends the run when a loss isn't finite, before the weights are changed by it."""

    def __init__(self) -> None:
        super().__init__(TerminateOnNonFinite())


class ProgressBarCallback(Translated):
    """A live bar, on the first rank of each machine."""

    def __init__(self) -> None:
        super().__init__(ProgressBar())


class LogMetricsCallback(TrainerCallback):
    """Gives the latest metrics to `log_metrics`, those of training and of the evaluation apart."""

    def on_train_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
        self._give(trainer, of_training=True)

    def on_eval_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
        self._give(trainer, of_training=False)

    def _give(self, trainer: Any, *, of_training: bool) -> None:
        history = trainer.run_history
        names = [
            name
            for name in sorted(history.get_metric_names())
            if name.startswith("train") == of_training
        ]
        self.log_metrics(trainer, {name: history.get_latest_metric(name) for name in names})

    def log_metrics(self, trainer: Any, metrics: dict[str, Any]) -> None:
        """Log the latest metrics; override it to log them elsewhere than on the terminal."""
        for name, value in metrics.items():
            trainer.print(f"{name}: {value}")


class PrintMetricsCallback(LogMetricsCallback):
    """Prints the latest metrics after training and after evaluation of an epoch."""


class PrintProgressCallback(TrainerCallback):
    """Prints where the run is."""

    def on_training_run_start(self, trainer: Any, **kwargs: Any) -> None:
        trainer.print("training begins")

    def on_train_epoch_start(self, trainer: Any, **kwargs: Any) -> None:
        history, config = trainer.run_history, trainer.run_config
        trainer.print(f"epoch {history.current_epoch} of {config['num_epochs']}")

    def on_training_run_end(self, trainer: Any, **kwargs: Any) -> None:
        trainer.print("training is over")

    def on_evaluation_run_start(self, trainer: Any, **kwargs: Any) -> None:
        trainer.print("evaluation begins")

    def on_evaluation_run_end(self, trainer: Any, **kwargs: Any) -> None:
        trainer.print("evaluation is over")


class _Watching(TrainerCallback):
    """A callback that watches a metric of the run history at the end of each epoch."""

    def __init__(self, watch_metric: str, greater_is_better: bool, reset_on_train: bool) -> None:
        self.watch_metric = watch_metric
        self.mode: Mode = "max" if greater_is_better else "min"
        self.reset_on_train = reset_on_train

    def on_training_run_start(self, trainer: Any, **kwargs: Any) -> None:
        # A run that is resumed goes on where it was.
        if self.reset_on_train and trainer.run.resumed_from is None:
            self.reset()

    def reset(self) -> None:
        """Forget the values seen so far."""
        raise NotImplementedError


class SaveBestModelCallback(_Watching):
    """Saves the model whenever a metric is the best so far, and ends with the best weights.

    Args:
        save_path: The file.
        watch_metric: Name of the metric in the run history.
        greater_is_better: Whether larger values are better.
        reset_on_train: Whether a new training forgets the best value of the one before.
        save_optimizer: Whether the file has the optimizer's state.
        save_scheduler: Whether it has the scheduler's.
        load_saved_checkpoint: Whether the model ends with the weights of the file.
    """

    def __init__(
        self,
        save_path: str = "best_model.pt",
        watch_metric: str = "eval_loss_epoch",
        greater_is_better: bool = False,
        reset_on_train: bool = True,
        save_optimizer: bool = True,
        save_scheduler: bool = True,
        load_saved_checkpoint: bool = True,
    ) -> None:
        super().__init__(watch_metric, greater_is_better, reset_on_train)
        self.save_path = save_path
        self.save_optimizer, self.save_scheduler = save_optimizer, save_scheduler
        self.load_saved_checkpoint = load_saved_checkpoint
        self.best_metric: float | None = None
        self.best_metric_epoch: int | None = None

    def reset(self) -> None:
        """Forget the best value."""
        self.best_metric = self.best_metric_epoch = None

    def on_training_run_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
        value = float(trainer.run_history.get_latest_metric(self.watch_metric))
        if not has_improved(value, self.best_metric, self.mode):
            return
        self.best_metric, self.best_metric_epoch = value, trainer.run_history.current_epoch
        trainer.save_checkpoint(
            self.save_path,
            checkpoint_kwargs={self.watch_metric: value},
            save_optimizer=self.save_optimizer,
            save_scheduler=self.save_scheduler,
        )

    def on_training_run_end(self, trainer: Any, **kwargs: Any) -> None:
        if self.load_saved_checkpoint and self.best_metric is not None:
            trainer.run.world.barrier()  # rank 0 has written the file that all of them read
            trainer.load_checkpoint(self.save_path, load_optimizer=False, load_scheduler=False)

    def state_dict(self) -> dict[str, Any]:
        """The best value and its epoch."""
        return {"best_metric": self.best_metric, "best_metric_epoch": self.best_metric_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.best_metric = state_dict["best_metric"]
        self.best_metric_epoch = state_dict["best_metric_epoch"]


class EarlyStoppingCallback(_Watching):
    """Ends training when a metric has not improved for some epochs.

    Args:
        early_stopping_patience: Epochs without improvement that end training.
        early_stopping_threshold: Smallest improvement that counts, in the metric's own unit.
        watch_metric: Name of the metric in the run history.
        greater_is_better: Whether larger values are better.
        reset_on_train: Whether a new training forgets the values of the one before.
    """

    def __init__(
        self,
        early_stopping_patience: int = 1,
        early_stopping_threshold: float = 0.01,
        watch_metric: str = "eval_loss_epoch",
        greater_is_better: bool = False,
        reset_on_train: bool = True,
    ) -> None:
        super().__init__(watch_metric, greater_is_better, reset_on_train)
        self.early_stopping_patience = early_stopping_patience
        self.early_stopping_threshold = early_stopping_threshold
        self.reset()

    def reset(self) -> None:
        """Forget the values seen so far."""
        self.waiting = Patience(
            self.mode,
            self.early_stopping_patience,
            self.early_stopping_threshold,
            check_finite=False,
        )

    def on_training_run_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
        value = float(trainer.run_history.get_latest_metric(self.watch_metric))
        if self.waiting.judge(value).exhausted:
            raise StopTrainingError(
                f"{self.watch_metric} has not improved for {self.waiting.waited} epochs"
            )

    def state_dict(self) -> dict[str, Any]:
        """The values that count, and the epochs since."""
        return self.waiting.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.waiting.load_state_dict(state_dict)
