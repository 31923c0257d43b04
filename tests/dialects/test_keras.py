"""Callbacks of Keras, written against its hooks; its own callbacks run in test_originals.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.dialects.training import fit, hooks_of, trainer_of
from trackside.dialects.keras import TABLE, Callback, ModelView
from trackside.errors import UsageError
from trackside.lifecycle.hooks import HOOKS
from trackside.outcome import Status
from trackside.testing import tiny_classification

SETTERS = {"set_params", "set_model"}


def noting(seen: list[Any], *hooks: str) -> Any:
    """A callback that notes its hooks, with their number where they have one, in `seen`."""

    def note(name: str) -> Any:
        def hook(self: Any, *arguments: Any, logs: Any = None) -> None:
            number = [argument for argument in arguments if isinstance(argument, int)]
            seen.append((name, *number))

        return hook

    names = hooks or [n for n in TABLE if n not in {*SETTERS, "on_batch_begin", "on_batch_end"}]
    return type("Noting", (Callback,), {name: note(name) for name in names})()


def test_hooks_come_in_the_order_of_keras() -> None:
    seen: list[Any] = []
    fit(noting(seen), epochs=1)

    batches = [(f"on_train_batch_{when}", n) for n in range(3) for when in ("begin", "end")]
    tests = [(f"on_test_batch_{when}", n) for n in range(2) for when in ("begin", "end")]
    validation = [("on_test_begin",), *tests, ("on_test_end",)]
    assert seen == [
        ("on_train_begin",),
        ("on_epoch_begin", 0),
        *batches,
        *validation,
        ("on_epoch_end", 0),
        ("on_train_end",),
    ]


def test_evaluation_and_prediction_have_their_hooks() -> None:
    seen: list[Any] = []
    trainer, task = trainer_of([noting(seen)])

    trainer.evaluate(task.validation)
    trainer.predict(task.validation)

    tests = [(f"on_test_batch_{when}", n) for n in range(2) for when in ("begin", "end")]
    predictions = [(f"on_predict_batch_{when}", n) for n in range(2) for when in ("begin", "end")]
    assert seen == [
        ("on_test_begin",),
        *tests,
        ("on_test_end",),
        ("on_predict_begin",),
        *predictions,
        ("on_predict_end",),
    ]


def test_the_old_names_of_batch_hooks_are_called_where_the_new_ones_are_not_there() -> None:
    old: list[Any] = []
    fit(noting(old, "on_batch_begin", "on_batch_end"), epochs=1)
    assert old == [(f"on_batch_{when}", n) for n in range(3) for when in ("begin", "end")]

    both: list[Any] = []
    fit(noting(both, "on_batch_end", "on_train_batch_end"), epochs=1)
    assert both == [("on_train_batch_end", n) for n in range(3)]


def test_logs_of_an_epoch_have_the_names_of_keras_and_are_shared() -> None:
    class Adding(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["extra"] = epoch

    class Looking(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.logs = dict(logs)

        def on_test_end(self, logs: Any = None) -> None:
            self.test = dict(logs)

        def on_train_end(self, logs: Any = None) -> None:
            self.end = dict(logs)

    looking = Looking()
    result = fit(Adding(), looking, task=tiny_classification())

    latest = result.history.latest
    assert looking.logs == {
        "loss": latest("train/loss"),
        "accuracy": latest("train/accuracy"),
        "val_loss": latest("val/loss"),
        "val_accuracy": latest("val/accuracy"),
        "extra": 1,
    }
    assert looking.end == looking.logs
    assert looking.test == {"loss": latest("val/loss"), "accuracy": latest("val/accuracy")}


def test_params_and_model_are_set_before_the_first_hook() -> None:
    class Setting(Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            assert isinstance(self.model, ModelView)
            self.seen = dict(self.params or {})

    setting = Setting()
    fit(setting, epochs=2)

    assert setting.seen == {"epochs": 2, "steps": 3, "verbose": 0}


def test_stop_training_ends_training() -> None:
    class Stopping(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.stop_training = epoch == 1

    result = fit(Stopping(), epochs=9)

    assert result.outcome.status is Status.STOPPED
    assert result.outcome.step == 6


def test_the_learning_rate_is_read_and_set() -> None:
    class Halving(Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model.optimizer.learning_rate = self.model.optimizer.learning_rate / 2

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seen = self.model.optimizer.learning_rate, self.model.optimizer.iterations

    halving = Halving()
    fit(halving)

    assert halving.seen == (0.025, 6)


def test_weights_are_taken_and_put_back() -> None:
    class Keeping(Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.weights = self.model.get_weights()

        def on_train_end(self, logs: Any = None) -> None:
            self.model.set_weights(self.weights)
            with pytest.raises(UsageError, match="2 arrays"):
                self.model.set_weights([])

    trainer, task = trainer_of([Keeping()])
    before = task.weights
    trainer.fit(task.train, epochs=1)

    assert torch.equal(task.weights, before)


def test_weights_are_saved_to_a_file_and_loaded() -> None:
    class Saving(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 0:
                self.model.save_weights("first.weights.h5")
                self.model.save("whole.keras")
                self.kept = self.model.get_weights()
                with pytest.raises(UsageError, match="there already"):
                    self.model.save("whole.keras", overwrite=False)

        def on_train_end(self, logs: Any = None) -> None:
            self.model.load_weights("first.weights.h5")
            pairs = zip(self.kept, self.model.get_weights(), strict=True)
            self.same = all((kept == now).all() for kept, now in pairs)

    saving = Saving()
    fit(saving)

    assert saving.same
    assert Path("whole.keras").is_file()


def test_no_hook_is_missing_from_the_table() -> None:
    assert hooks_of(Callback) == set(TABLE)
    assert {hook for row in TABLE.values() for hook in row.carriers} <= set(HOOKS)


def test_an_unknown_attribute_names_dialect_attribute_and_native_way() -> None:
    class Asking(Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.model.layers  # noqa: B018

    with pytest.raises(AttributeError, match="keras: a `Model` here has no `layers`") as caught:
        fit(Asking())
    assert caught.match("named_modules")
