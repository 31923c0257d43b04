"""Callbacks that the frameworks themselves ship run in Trackside's trainer, as installed."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.dialects.training import fit, trainer_of
from trackside import Settings
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.dialects import keras, pytorch_accelerated, state_file, transformers
from trackside.errors import DuplicateCallbackError, RegistrationError
from trackside.outcome import Status
from trackside.testing import tiny_classification

# Of the frameworks, not of ours: deprecations of what they import.
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def accelerated() -> ModuleType:
    return pytest.importorskip("pytorch_accelerated.callbacks")


@pytest.fixture(scope="module")
def keras_callbacks() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras").callbacks


@pytest.fixture(scope="module")
def hugging_face() -> ModuleType:
    return pytest.importorskip("transformers.trainer_callback")


def public_hooks(kind: type) -> set[str]:
    return {
        name
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


# --- pytorch-accelerated -----------------------------------------------------------------------


def test_every_event_of_pytorch_accelerated_is_in_the_table(accelerated: ModuleType) -> None:
    assert public_hooks(accelerated.TrainerCallback) == set(pytorch_accelerated.TABLE)


def test_the_default_callbacks_of_pytorch_accelerated_run(
    accelerated: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    defaults = accelerated.get_default_callbacks(progress_bar=True)

    result = fit(*defaults, task=tiny_classification())

    printed = capsys.readouterr().out
    assert result.outcome.status is Status.COMPLETED
    assert f"train_loss_epoch: {result.history.latest('train/loss')}" in printed
    assert f"eval_loss_epoch: {result.history.latest('val/loss')}" in printed


def test_the_early_stopping_of_pytorch_accelerated_stops(accelerated: ModuleType) -> None:
    stopping = accelerated.EarlyStoppingCallback(
        early_stopping_patience=2, early_stopping_threshold=100.0
    )

    result = fit(stopping, epochs=30)

    assert result.outcome.status is Status.STOPPED
    assert result.outcome.asked_by == "EarlyStoppingCallback"
    assert result.outcome.step == 3 * 3


def test_the_best_model_of_pytorch_accelerated_is_saved_and_put_back(
    accelerated: ModuleType,
) -> None:
    trainer, task = trainer_of([accelerated.SaveBestModelCallback("best.pt")])

    result = trainer.fit(task.train, task.validation, epochs=4)

    losses = result.history.values("val/loss")
    saved = state_file.read("best.pt")
    assert min(losses) in saved["kwargs"].values()
    assert torch.equal(saved["model"]["weight"], task.model.weight)  # type: ignore[arg-type]


def test_a_loss_that_is_not_a_number_ends_the_run(accelerated: ModuleType) -> None:
    def loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.mse_loss(prediction, target) * float("nan")

    trainer, task = trainer_of([accelerated.TerminateOnNaNCallback], loss=loss)
    with pytest.raises(SystemExit, match="NaN"):  # what that callback does at the end
        trainer.fit(task.train, epochs=3)

    assert torch.isfinite(task.weights).all()


def test_the_training_state_of_pytorch_accelerated_is_saved_and_pruned(
    accelerated: ModuleType,
) -> None:
    saving = accelerated.SaveTrainingStateCallback(
        "states", save_every_n_epochs=1, max_checkpoints=2
    )

    fit(saving, epochs=3)

    kept = sorted(path.parent.name for path in Path("states").glob("*/*.safetensors"))
    assert kept == ["epoch_3", "final"]


def test_a_second_one_of_a_class_is_refused(accelerated: ModuleType) -> None:
    once = accelerated.PrintProgressCallback
    with pytest.raises(DuplicateCallbackError, match="PrintProgressCallback"):
        trainer_of([once, once()])


def test_what_needs_their_own_loop_says_so(accelerated: ModuleType) -> None:
    with pytest.raises(AttributeError, match="BatchLimit"):
        fit(accelerated.LimitBatchesCallback(1))
    with pytest.raises(AttributeError, match=r"callbacks\.EMA"):
        fit(accelerated.ModelEmaCallback())


def test_averaged_weights_of_pytorch_accelerated_are_saved(accelerated: ModuleType) -> None:
    averaging = accelerated.ModelEmaCallback(decay=0.5, evaluate_during_training=False)
    trainer, task = trainer_of([averaging])

    trainer.fit(task.train, task.validation, epochs=2)

    saved = state_file.read("ema_model.pt")["model"]["weight"]
    assert torch.equal(saved, averaging.ema_model.module.weight)
    assert not torch.equal(saved, task.model.weight)  # type: ignore[arg-type]


# --- Keras -------------------------------------------------------------------------------------


def test_every_hook_of_keras_is_in_the_table(keras_callbacks: Any) -> None:
    assert public_hooks(keras_callbacks.Callback) == set(keras.TABLE)


def test_the_early_stopping_of_keras_stops_and_restores_the_best(keras_callbacks: Any) -> None:
    class Keeping(keras.Callback):
        def __init__(self) -> None:
            self.weights: list[Any] = []

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.weights.append(self.model.get_weights()[0])

    keeping = Keeping()
    stopping = keras_callbacks.EarlyStopping(patience=2, min_delta=100, restore_best_weights=True)
    trainer, task = trainer_of([keeping, stopping])
    result = trainer.fit(task.train, task.validation, epochs=30)

    assert result.outcome.status is Status.STOPPED
    assert result.outcome.step == 3 * 3
    assert (task.model.weight.detach().numpy() == keeping.weights[0]).all()  # type: ignore[operator]


def test_history_and_csv_of_keras_hold_the_epochs(keras_callbacks: Any) -> None:
    history = keras_callbacks.History()
    result = fit(history, keras_callbacks.CSVLogger("log.csv"), task=tiny_classification())

    assert history.history["val_loss"] == result.history.values("val/loss")
    assert history.epoch == [0, 1]
    rows = Path("log.csv").read_text().splitlines()
    assert rows[0] == "epoch,accuracy,loss,val_accuracy,val_loss"
    assert len(rows) == 3


def test_the_rate_is_scheduled_and_reduced_by_keras(keras_callbacks: Any) -> None:
    task = tiny_classification()
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.1)
    reducing = keras_callbacks.ReduceLROnPlateau(patience=1, min_delta=100, factor=0.5)
    scheduling = keras_callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9)

    fit(scheduling, reducing, task=task, optimizer=optimizer, epochs=3)

    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.9**3 * 0.5**2)


def test_checkpoints_of_keras_are_written_and_load(keras_callbacks: Any) -> None:
    best = keras_callbacks.ModelCheckpoint("best.keras", save_best_only=True)
    weights = keras_callbacks.ModelCheckpoint("{epoch}.weights.h5", save_weights_only=True)
    trainer, task = trainer_of([best, weights])

    result = trainer.fit(task.train, task.validation, epochs=2)

    assert best.best == min(result.history.values("val/loss"))
    assert "optimizers" in state_file.read("best.keras")
    last = state_file.read("2.weights.h5")["model"]["weight"]
    assert torch.equal(last, task.model.weight)  # type: ignore[arg-type]


def test_terminate_on_nan_and_lambda_callbacks_of_keras_run(keras_callbacks: Any) -> None:
    seen: list[int] = []

    def loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.mse_loss(prediction, target) * float("nan")

    counting = keras_callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(epoch),
        on_train_batch_end=lambda batch, logs: seen.append(batch),
    )
    result = fit(counting, keras_callbacks.TerminateOnNaN(), loss=loss, epochs=9)

    assert result.outcome.asked_by == "TerminateOnNaN"
    assert seen == [0, 0]


def test_the_progress_bar_of_keras_is_drawn(
    keras_callbacks: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(keras_callbacks.ProgbarLogger()).outcome.status is Status.COMPLETED


# --- transformers ------------------------------------------------------------------------------


def test_every_event_of_transformers_is_in_the_table(hugging_face: ModuleType) -> None:
    assert public_hooks(hugging_face.TrainerCallback) == set(transformers.TABLE)


def test_the_progress_and_printer_of_transformers_run(
    hugging_face: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(device="cpu", directory="run", log_every="1 step")

    result = fit(hugging_face.ProgressCallback(), hugging_face.PrinterCallback, settings=settings)

    assert result.outcome.status is Status.COMPLETED
    assert re.search(r"'eval_loss': ", capsys.readouterr().out)


def test_the_early_stopping_of_transformers_stops(hugging_face: ModuleType) -> None:
    stopping = hugging_face.EarlyStoppingCallback(2, early_stopping_threshold=100.0)

    result = fit(stopping, epochs=30)

    assert result.outcome.status is Status.STOPPED
    # The first evaluation has nothing to be compared with.
    assert result.outcome.step == 3 * 3


def test_the_early_stopping_of_transformers_watches_what_it_is_given(
    hugging_face: ModuleType,
) -> None:
    stopping = hugging_face.EarlyStoppingCallback(1, early_stopping_threshold=1.0)
    adapted = transformers.adapt(stopping, metric_for_best_model="accuracy", greater_is_better=True)

    result = fit(adapted, epochs=30, task=tiny_classification())

    assert result.outcome.asked_by == "EarlyStoppingCallback"
    assert result.outcome.step == 2 * 3


def test_the_state_of_their_early_stopping_goes_into_the_checkpoint(
    hugging_face: ModuleType,
) -> None:
    def run(epochs: int, resume: Any = None) -> Any:
        stopping = hugging_face.EarlyStoppingCallback(50, early_stopping_threshold=100.0)
        trainer, task = trainer_of([stopping, Checkpoint()])
        trainer.fit(task.train, task.validation, epochs=epochs, resume=resume)
        return stopping

    assert run(3).early_stopping_patience_counter == 2
    assert run(5, "auto").early_stopping_patience_counter == 4


def test_the_callback_that_steers_their_loop_is_refused(hugging_face: ModuleType) -> None:
    with pytest.raises(RegistrationError, match="nothing to do here"):
        trainer_of([hugging_face.DefaultFlowCallback])
