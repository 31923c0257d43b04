"""The built-in callbacks of other trainers under their own names: only the import line changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.dialects.training import fit, trainer_of
from trackside.callbacks.reporting.progress_bar import ProgressBar
from trackside.callbacks.reporting.tensorboard import TensorBoard
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.callbacks.stopping.terminate_on_non_finite import TerminateOnNonFinite
from trackside.dialects import (
    adaptive_neural_network,
    nn_handler,
    pytorch_accelerated,
    state_file,
)
from trackside.errors import ConfigurationError
from trackside.outcome import Status
from trackside.testing import tiny_classification

# --- nn_handler ----------------------------------------------------------------------------------


class Scripted(nn_handler.Callback):
    """Puts the value of each epoch into `logs`, before the callback that is tested reads it."""

    def __init__(self, *values: float, name: str = "val_loss") -> None:
        super().__init__()
        self.values, self.key = values, name

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs[self.key] = self.values[epoch]


def test_model_checkpoint_writes_a_file_for_each_new_best_value() -> None:
    checkpoint = nn_handler.ModelCheckpoint("ck/best_{epoch:02d}_{val_loss:.1f}.pth")
    result = fit(Scripted(2.0, 3.0, 1.0), checkpoint, epochs=3)

    assert not result.failed_callbacks
    assert sorted(p.name for p in Path("ck").iterdir()) == ["best_01_2.0.pth", "best_03_1.0.pth"]
    assert checkpoint.best == 1.0


def test_model_checkpoint_without_a_folder_saves_beside_the_program() -> None:
    fit(nn_handler.ModelCheckpoint("best.pth"), epochs=1)

    assert {"model", "optimizers", "callbacks"} <= set(state_file.read("best.pth"))


def test_model_checkpoint_saves_periodically_weights_alone_if_asked() -> None:
    checkpoint = nn_handler.ModelCheckpoint(
        "every_{epoch}", save_best_only=False, save_freq=2, save_weights_only=True
    )
    fit(checkpoint, epochs=4)

    files = sorted(Path().glob("every_*.pth"))
    assert [p.stem for p in files] == ["every_2", "every_4"]
    assert "optimizers" not in state_file.read(files[0])


def test_the_best_value_of_model_checkpoint_survives_a_resume() -> None:
    def train(epochs: int, resume: str | None, *values: float) -> list[str]:
        checkpoint = nn_handler.ModelCheckpoint("best_{epoch}.pth")
        trainer, task = trainer_of([Scripted(*values), checkpoint, Checkpoint()])
        trainer.fit(task.train, task.validation, epochs=epochs, resume=resume)
        return sorted(p.stem for p in Path().glob("best_*.pth"))

    assert train(1, None, 1.0) == ["best_1"]
    assert train(3, "auto", 1.0, 2.0, 0.5) == ["best_1", "best_3"]


def test_early_stopping_of_nn_handler_stops_and_restores_the_best_weights() -> None:
    seen: list[torch.Tensor] = []

    class Weights(nn_handler.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            assert self.handler is not None
            seen.append(self.handler.module.state_dict()["weight"].clone())

    stopping = nn_handler.EarlyStopping(patience=2, restore_best_weights=True)
    trainer, task = trainer_of([Scripted(1.0, 2.0, 2.0, 2.0), Weights(), stopping])
    result = trainer.fit(task.train, task.validation, epochs=4)

    assert (result.outcome.status, len(seen)) == (Status.STOPPED, 3)
    assert torch.equal(task.model.state_dict()["weight"], seen[0])


def test_epochs_without_a_validation_do_not_count_as_no_improvement() -> None:
    trainer, task = trainer_of([nn_handler.EarlyStopping(patience=1)])
    result = trainer.fit(task.train, task.validation, epochs=4, evaluate_every="3 epochs")

    assert result.outcome.status is Status.COMPLETED


def test_a_metric_that_is_not_there_is_a_failure_that_names_those_that_are() -> None:
    result = fit(nn_handler.EarlyStopping(monitor="val_acuracy"), task=tiny_classification())

    assert result.failed_callbacks == {"EarlyStopping": 2}


def test_monitors_of_nn_handler_add_to_the_logs_of_later_callbacks() -> None:
    class Keeps(nn_handler.Callback):
        logs: Any = None

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.logs = dict(logs)

    keeps = Keeps()
    monitors = (
        nn_handler.LearningRateMonitor(),
        nn_handler.EpochTimer(),
        nn_handler.ParameterNormMonitor(),
        nn_handler.ParameterNormMonitor(norm_type="inf"),
    )
    trainer, task = trainer_of([*monitors, keeps])
    trainer.fit(task.train, epochs=1)

    weights = torch.cat([p.detach().flatten() for p in task.model.parameters()])
    assert keeps.logs["param_norm_2"] == pytest.approx(float(weights.norm()))
    assert keeps.logs["param_norm_inf"] == pytest.approx(float(weights.abs().max()))
    assert keeps.logs["epoch_time_sec"] == keeps.logs["epoch_time"] >= 0
    assert keeps.logs["lr_group_0"] == keeps.logs["lr"]


def test_progress_monitor_prints_a_line_per_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    fit(nn_handler.ProgressMonitor(), defaults=False)

    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    pattern = re.compile(r"epoch (\d)  loss \S+  val_loss \S+  lr 0\.1")
    assert [pattern.findall(line) for line in lines] == [["1"], ["2"]]


@pytest.mark.parametrize("kind", ["SimpleGarbageCollector", "CudaGarbageCollector"])
def test_collectors_of_nn_handler_collect_on_their_schedule(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gc

    collected: list[int] = []

    def collect(*_: int) -> int:
        collected.append(1)
        return 0

    monkeypatch.setattr(gc, "collect", collect)
    callback = getattr(nn_handler, kind)(collect_freq_epoch=2)
    result = fit(callback, epochs=4, defaults=False)

    assert not result.failed_callbacks
    assert len(collected) >= 2


# --- theirs that are ours under their names ------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (nn_handler.TensorBoardLogger(log_dir="events", comment="_a"), TensorBoard),
        (pytorch_accelerated.TerminateOnNaNCallback(), TerminateOnNonFinite),
        (pytorch_accelerated.ProgressBarCallback(), ProgressBar),
    ],
)
def test_a_built_in_joins_as_ours_under_its_own_name(theirs: Any, ours: type) -> None:
    trainer, _ = trainer_of([theirs])

    assert isinstance(trainer.callbacks[type(theirs).__name__], ours)
    assert sum(isinstance(callback, ours) for callback in trainer.callbacks) == 1


# --- adaptive neural network ---------------------------------------------------------------------


def test_logging_of_the_adaptive_network_prints_what_is_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    callback = adaptive_neural_network.LoggingCallback(log_interval=2)
    fit(callback, task=tiny_classification(), epochs=1, defaults=False)

    printed = capsys.readouterr().out
    assert "epoch 1 of 1" in printed
    assert re.search(r"batch 2  loss \S+  accuracy 0\.\d+  \S+ samples/s", printed)
    assert re.search(r"train_accuracy 0\.\d+", printed)


def test_built_ins_of_the_adaptive_network_tolerate_missing_logs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Trainer:
        num_epochs = 1

        class run:
            class world:
                is_global_zero = True

    trainer: Any = Trainer()
    callback = adaptive_neural_network.LoggingCallback(log_interval=1)
    callback.on_epoch_begin(0, trainer)
    callback.on_batch_end(0, trainer, None)
    callback.on_epoch_end(0, trainer, {})

    assert "epoch 1 is over" in capsys.readouterr().out


def test_profiling_of_the_adaptive_network_measures_epochs_and_batches() -> None:
    callback = adaptive_neural_network.ProfilingCallback()
    fit(callback, epochs=2, defaults=False)

    assert (len(callback.epoch_times), len(callback.batch_times)) == (2, 6)
    assert set(callback.get_metrics()) == {"avg_epoch_time", "avg_batch_time"}


# --- pytorch-accelerated -------------------------------------------------------------------------


class Adds(pytorch_accelerated.TrainerCallback):
    """Adds the value of each epoch to the run history, under `tau`."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def on_eval_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
        trainer.run_history.update_metric("tau", self.values[trainer.run_history.current_epoch - 1])


@pytest.mark.parametrize(("greater", "epochs"), [(True, 4), (False, 3)])
def test_early_stopping_of_pytorch_accelerated_watches_any_metric_in_either_direction(
    greater: bool, epochs: int
) -> None:
    stopping = pytorch_accelerated.EarlyStoppingCallback(
        2, 0.1, watch_metric="tau", greater_is_better=greater
    )
    result = fit(Adds(0.5, 0.8, 0.8, 0.85, 0.9), stopping, epochs=5)

    assert result.outcome.status is Status.STOPPED
    assert len(result.history.values("val/loss")) == epochs


def test_save_best_model_saves_the_best_and_ends_with_it() -> None:
    saving = pytorch_accelerated.SaveBestModelCallback("best.pt", "tau", greater_is_better=True)
    trainer, task = trainer_of([Adds(0.1, 0.9, 0.3), saving])
    trainer.fit(task.train, task.validation, epochs=3)

    state = state_file.read("best.pt")
    assert (saving.best_metric, saving.best_metric_epoch) == (0.9, 2)
    assert state["kwargs"] == {"tau": 0.9}
    assert torch.equal(task.model.state_dict()["weight"], state["model"]["weight"])


def test_save_best_model_leaves_out_and_leaves_alone_what_it_is_told_to() -> None:
    saving = pytorch_accelerated.SaveBestModelCallback(
        "best.pt", "tau", save_optimizer=False, load_saved_checkpoint=False
    )
    trainer, task = trainer_of([Adds(0.1, 0.9), saving])
    trainer.fit(task.train, task.validation, epochs=2)

    state = state_file.read("best.pt")
    assert "optimizers" not in state
    assert not torch.equal(task.model.state_dict()["weight"], state["model"]["weight"])


def test_a_resumed_run_keeps_the_best_value_and_a_new_one_forgets_it() -> None:
    def train(saving: Any, epochs: int, resume: str | None, *values: float) -> Any:
        trainer, task = trainer_of([Adds(*values), saving, Checkpoint()])
        trainer.fit(task.train, task.validation, epochs=epochs, resume=resume)
        return saving.best_metric

    best = pytorch_accelerated.SaveBestModelCallback
    assert train(best("a.pt", "tau"), 1, None, 0.5) == 0.5
    assert train(best("a.pt", "tau"), 2, "auto", 0.5, 0.7) == 0.5


def test_metrics_are_printed_where_they_are_new(capsys: pytest.CaptureFixture[str]) -> None:
    fit(pytorch_accelerated.PrintMetricsCallback(), epochs=1, defaults=False)

    printed = capsys.readouterr().out
    assert re.search(r"^train_loss_epoch: \d", printed, re.M)
    assert re.search(r"^eval_loss_epoch: \d", printed, re.M)


def test_metrics_are_logged_where_a_subclass_wants_them() -> None:
    class Keeps(pytorch_accelerated.LogMetricsCallback):
        def __init__(self) -> None:
            self.seen: list[list[str]] = []

        def log_metrics(self, trainer: Any, metrics: dict[str, Any]) -> None:
            self.seen.append(list(metrics))

    keeps = Keeps()
    fit(keeps, epochs=1)

    assert keeps.seen == [["train_loss_epoch"], ["eval_loss_epoch"]]


def test_progress_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    fit(pytorch_accelerated.PrintProgressCallback(), epochs=2, defaults=False)

    assert [line for line in capsys.readouterr().out.splitlines() if "of 2" in line] == [
        "epoch 1 of 2",
        "epoch 2 of 2",
    ]


def test_a_direction_that_nn_handler_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'up' is not a direction"):
        nn_handler.ModelCheckpoint("x", mode="up")  # type: ignore[arg-type]
