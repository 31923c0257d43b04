"""What nn_handler promises its callbacks, kept: one test per promise, by its number."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from tests.dialects.training import fit, hooks_of, trainer_of
from trackside import Settings
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.dialects import state_file
from trackside.dialects.nn_handler import (
    TABLE,
    BasePredictionVisualizer,
    Callback,
    EarlyStopping,
    Handler,
    ImagePredictionVisualizer,
    ParamScheduler,
    WandbLogger,
)
from trackside.errors import ConfigurationError, RegistrationError
from trackside.lifecycle.hooks import HOOKS
from trackside.outcome import Status
from trackside.testing import tiny_classification


class Keeping(Callback):
    """Keeps the `logs` of every hook that it gets, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Any, dict[str, Any]]] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.seen.append(("batch", batch, dict(logs or {})))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.seen.append(("epoch", epoch, dict(logs or {})))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.seen.append(("end", None, dict(logs or {})))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [logs for what, _, logs in self.seen if what == kind]


class BestWeights(Callback):
    """Saves through the handler whenever `val_loss` is the best so far; keeps the best in state."""

    def __init__(self, path: str, best: float = float("inf")) -> None:
        super().__init__()
        self.path, self.best, self.saved_at = path, best, []

    saved_at: list[int]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        if logs["val_loss"] < self.best:
            self.best = logs["val_loss"]
            self.saved_at.append(epoch)
            assert self.handler is not None
            self.handler.save(self.path.format(epoch=epoch))

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]


def test_nn_01_a_callback_with_one_hook_is_called_for_that_alone() -> None:
    class OnlyEpochs(Callback):
        epochs = 0

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.epochs += 1

    callback = OnlyEpochs()
    trainer, task = trainer_of([callback])
    trainer.fit(task.train, epochs=3)

    assert callback.epochs == 3
    table = trainer.callbacks.table()
    within_epochs = {"on_step_start", "on_step_end", "on_batch_start", "on_batch_end"}
    assert within_epochs & set(table) == set()


def test_nn_02_logs_hold_what_the_hooks_are_for() -> None:
    keeping = Keeping()
    fit(keeping, task=tiny_classification())

    of_batch = {"batch", "size", "loss", "accuracy"}
    assert all(set(logs) == of_batch for logs in keeping.of("batch"))
    assert all(isinstance(logs["loss"], float) for logs in keeping.of("batch"))
    expected = {"loss", "accuracy", "val_loss", "val_accuracy"}
    expected |= {"lr", "lr_group_0", "epoch", "epoch_time"}
    assert [set(logs) for logs in keeping.of("epoch")] == [expected, expected]
    assert keeping.of("epoch")[0]["lr"] == 0.01


def test_nn_02_epochs_are_counted_from_0_in_the_hook_and_from_1_in_logs() -> None:
    keeping = Keeping()
    fit(keeping)

    numbers = [(epoch, logs["epoch"]) for what, epoch, logs in keeping.seen if what == "epoch"]
    assert numbers == [(0, 1), (1, 2)]
    assert [n for what, n, _ in keeping.seen if what == "batch"] == [0, 1, 2, 0, 1, 2]


def test_nn_02_a_batch_begins_and_ends_under_the_same_number() -> None:
    class Numbers(Callback):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[str, int]] = []

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.seen.append(("begin", batch))

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.seen.append(("end", batch))

    numbers = Numbers()
    fit(numbers, epochs=1)

    assert numbers.seen == [(when, n) for n in range(3) for when in ("begin", "end")]


def test_nn_03_logs_of_an_epoch_are_the_means_of_the_record() -> None:
    keeping = Keeping()
    result = fit(keeping)

    history = result.history
    assert [logs["loss"] for logs in keeping.of("epoch")] == history.values("train/loss")
    assert [logs["val_loss"] for logs in keeping.of("epoch")] == history.values("val/loss")
    assert keeping.of("end")[0]["val_loss"] == history.latest("val/loss")


def test_nn_04_the_handler_is_set_when_the_callback_joins() -> None:
    callback = Callback()
    assert callback.handler is None

    trainer_of([callback])

    assert isinstance(callback.handler, Handler)


def test_nn_04_the_handler_shows_model_optimizer_and_losses() -> None:
    class Looking(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            assert self.handler is not None
            assert logs is not None
            assert isinstance(self.handler.model, nn.Linear)
            assert self.handler.optimizer.param_groups[0]["lr"] == 0.1
            assert len(self.handler.train_losses) == epoch + 1
            assert self.handler.train_losses[-1] == logs["loss"]
            assert self.handler.val_losses[-1] == logs["val_loss"]

    result = fit(Looking())

    assert not result.failed_callbacks


def test_nn_05_state_survives_a_save_and_load_of_the_handler() -> None:
    first = BestWeights("best.pth")
    fit(first)

    class Resuming(Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            assert self.handler is not None
            self.handler.load("best.pth")

    second = BestWeights("second.pth")
    result = fit(Resuming(), second, epochs=1)

    assert first.saved_at
    assert not result.failed_callbacks
    assert second.best <= first.best < float("inf")
    assert not Path("second.pth").exists() or second.best < first.best


def test_nn_05_state_goes_into_the_checkpoint() -> None:
    first = BestWeights("best.pth")
    trainer, task = trainer_of([first, Checkpoint()])
    trainer.fit(task.train, task.validation, epochs=1)

    second = BestWeights("best.pth")
    again, task = trainer_of([second, Checkpoint()])
    again.fit(task.train, task.validation, epochs=1, resume="auto")

    assert second.best == first.best < float("inf")


def test_nn_05_state_that_cannot_be_saved_is_an_error_at_the_start() -> None:
    class Holding(Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"lock": object()}

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            raise AssertionError("training has begun")

    with pytest.raises(Exception, match=r"Holding\.lock"):
        fit(Holding(), Checkpoint())


def test_nn_06_callbacks_know_the_rank_that_they_are_on() -> None:
    class Ranked(Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            assert self.handler is not None
            self.rank, self.size = self.handler._rank, self.handler._world_size

    ranked = Ranked()
    fit(ranked)

    assert (ranked.rank, ranked.size) == (0, 1)


def test_nn_07_a_callback_is_added_through_the_handler_and_others_are_refused() -> None:
    added = Keeping()

    class Adding(Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            assert self.handler is not None
            self.handler.add_callback(added)
            with pytest.raises(RegistrationError, match="is not a callback"):
                self.handler.add_callback(object())

    result = fit(Adding(), epochs=1)

    assert not result.failed_callbacks
    assert len(added.of("epoch")) == 1


def test_nn_08_the_base_class_needs_no_arguments() -> None:
    assert Callback().handler is None
    assert fit(Callback()).outcome.status is Status.COMPLETED


def test_nn_08_a_subclass_that_forgets_the_base_constructor_works_too() -> None:
    class Forgetful(Callback):
        def __init__(self, count: int) -> None:
            self.count = count

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            assert self.handler is not None
            self.count += len(self.handler.train_losses)

    forgetful = Forgetful(0)
    fit(forgetful)

    assert forgetful.count == 1 + 2


def test_nn_09_files_are_saved_when_it_is_due_and_when_it_is_the_best() -> None:
    class Periodic(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            assert self.handler is not None
            if (epoch + 1) % 2 == 0:
                self.handler.save(f"every/{epoch}.pth")

    best = BestWeights("best/{epoch}.pth")
    trainer, task = trainer_of([Periodic(), best])
    result = trainer.fit(task.train, task.validation, epochs=4)

    assert sorted(path.name for path in Path("every").iterdir()) == ["1.pth", "3.pth"]
    values = result.history.values("val/loss")
    expected = [n for n, v in enumerate(values) if v == min(values[: n + 1])]
    assert best.saved_at == expected
    weights = state_file.read("every/3.pth")["model"]
    assert torch.equal(weights["weight"], task.model.weight)  # type: ignore[arg-type]


def test_nn_10_early_stopping_schedules_checks_pictures_and_trackers_are_callbacks() -> None:
    written: list[tuple[int, float]] = []

    class Halving(Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            assert self.handler is not None
            for group in self.handler.optimizer.param_groups:
                group["lr"] *= 0.5

    class Checking(Callback):
        def on_val_end(self, logs: Any = None) -> None:
            assert self.handler is not None
            inputs, _ = next(iter(self.handler.val_loader))
            self.prediction = self.handler.model(inputs)

    class Tracking(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            written.append((epoch, logs["lr"]))

    class Drawing(BasePredictionVisualizer):
        drawn: ClassVar[list[Any]] = []

        def _visualize_batch(
            self, inputs: Any, targets: Any, predictions: Any, epoch: int, logs: Any
        ) -> None:
            self.drawn.append((epoch, len(inputs), targets.shape, predictions.shape))

    checking = Checking()
    stopping = EarlyStopping(patience=2, min_delta=1e9)
    result = fit(Halving(), stopping, checking, Tracking(), Drawing(2, num_samples=3), epochs=10)

    assert not result.failed_callbacks
    assert result.outcome.status is Status.STOPPED
    assert result.outcome.asked_by == "EarlyStopping"
    assert written == [(0, 0.05), (1, 0.025), (2, 0.0125)]
    assert checking.prediction.shape == (4, 1)
    assert Drawing.drawn == [(1, 3, (3, 1), (3, 1))]


def test_an_attribute_of_the_model_follows_a_schedule() -> None:
    class Noting(Callback):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[float] = []

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            assert self.handler is not None
            self.seen.append(self.handler.module.strength)  # type: ignore[arg-type]

    noting = Noting()
    trainer, task = trainer_of([ParamScheduler("strength", lambda epoch: 1.0 + epoch), noting])
    task.model.strength = 0.0  # type: ignore[assignment]
    trainer.fit(task.train, epochs=2)

    assert noting.seen == [1.0, 2.0]


@pytest.mark.parametrize("kind", [ImagePredictionVisualizer, WandbLogger])
def test_an_option_that_would_do_nothing_is_refused_by_name(kind: Any) -> None:
    options = {"project": "digits"} if kind is WandbLogger else {}

    with pytest.raises(ConfigurationError, match="no option `dpi`"):
        kind(**options, dpi=100)


def test_pictures_and_records_join_as_ours_under_their_own_names() -> None:
    pytest.importorskip("wandb")
    trainer, _ = trainer_of([ImagePredictionVisualizer(2), WandbLogger("digits", run_name="one")])

    assert trainer.callbacks["WandbLogger"].project == "digits"
    assert trainer.callbacks["ImagePredictionVisualizer"].count == 8


def test_nn_11_a_callback_may_change_what_the_handler_holds() -> None:
    class Freezing(Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            assert self.handler is not None
            self.handler.optimizer.param_groups[0]["lr"] = 0.0
            self.handler.note = "frozen"

    class Reading(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            assert self.handler is not None
            self.note = self.handler.note

    reading = Reading()
    trainer, task = trainer_of([Freezing(), reading])
    before = task.weights
    result = trainer.fit(task.train, epochs=1)

    assert not result.failed_callbacks
    assert torch.equal(task.weights, before)
    assert reading.note == "frozen"


# --- the table, the view, the policies ---------------------------------------------------------


def test_no_hook_is_missing_from_the_table() -> None:
    assert hooks_of(Callback) - set(TABLE) == {"set_handler", "state_dict", "load_state_dict"}
    assert {hook for row in TABLE.values() for hook in row.carriers} <= set(HOOKS)


def test_a_validation_hook_gets_the_batches_of_the_validation_only() -> None:
    class Validating(Callback):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[Any] = []

        def on_val_begin(self, logs: Any = None) -> None:
            self.seen.append("begin")

        def on_val_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.seen.append(batch)

        def on_val_batch_end(self, batch: int, logs: Any = None) -> None:
            assert logs["val_loss"] > 0
            self.seen.append(batch)

        def on_val_end(self, logs: Any = None) -> None:
            self.seen.append(set(logs))

    validating = Validating()
    trainer, task = trainer_of([validating])
    sets = {"other": task.validation, "val": task.validation}
    result = trainer.fit(task.train, sets, epochs=1)

    assert not result.failed_callbacks
    assert validating.seen == ["begin", 0, 0, 1, 1, {"epoch", "loss", "val_loss"}]


def test_a_failing_callback_is_counted_and_training_goes_on() -> None:
    class Failing(Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            raise ValueError("no")

    keeping = Keeping()
    result = fit(Failing(), keeping)

    assert result.outcome.status is Status.COMPLETED
    assert result.failed_callbacks == {"Failing": 3}
    assert len(keeping.of("batch")) == 6


def test_an_error_tells_the_hook_that_it_came_from(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Callback):
        def on_val_end(self, logs: Any = None) -> None:
            raise ValueError("no")

    fit(Failing())

    assert "in `on_val_end` of the nn_handler callback `Failing`" in caplog.text


def test_an_unknown_attribute_names_dialect_attribute_and_native_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Asking(Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            assert self.handler is not None
            self.handler.loss_fn  # noqa: B018

    fit(Asking())

    assert "nn_handler: a `NNHandler` here has no `loss_fn`" in caplog.text
    assert "Trainer(loss=...)" in caplog.text


def test_a_misspelt_hook_is_told_when_the_callback_joins() -> None:
    class Misspelt(Callback):
        def on_epoch_ends(self, epoch: int, logs: Any = None) -> None: ...

    with pytest.warns(UserWarning, match="Did you mean `on_epoch_end`"):
        trainer_of([Misspelt()])


def test_looking_at_the_run_before_it_began_says_when_to_look() -> None:
    callback = Callback()
    trainer_of([callback])

    assert callback.handler is not None
    with pytest.raises(Exception, match="before the run began"):
        callback.handler.model  # noqa: B018


def test_a_second_run_shows_the_second_run() -> None:
    class Counting(Callback):
        def on_train_end(self, logs: Any = None) -> None:
            assert self.handler is not None
            self.losses = len(self.handler.train_losses)

    counting = Counting()
    trainer, task = trainer_of([counting], settings=Settings(device="cpu"))
    trainer.fit(task.train, epochs=3)
    trainer.fit(task.train, epochs=1)

    assert counting.losses == 1


def test_a_file_that_is_none_of_ours_is_refused_with_the_reason() -> None:
    Path("other.pth").write_bytes(b"\x80\x04N.")

    with pytest.raises(Exception, match="isn't a file that a callback saved here"):
        state_file.read("other.pth")


def test_no_warning_comes_from_a_callback_that_is_right() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(Keeping())
