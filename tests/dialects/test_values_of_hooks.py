"""Values that callbacks of other trainers read or set: at their time; honoured or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.dialects.training import fit, trainer_of
from trackside import Callback as Native
from trackside import Output, Run, Trainer
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.dialects import (
    adaptive_neural_network,
    dream_trainer,
    keras,
    nn_handler,
    pytorch_accelerated,
    transformers,
)
from trackside.dialects.view import UnknownAttributeError
from trackside.errors import UsageError
from trackside.outcome import Status
from trackside.testing import tiny_classification, tiny_regression

# --- training metrics ----------------------------------------------------------------------------


class KerasLogs(keras.Callback):
    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []
        self.epochs: list[dict[str, Any]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches.append(dict(logs))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(dict(logs))


class AdaptiveLogs(adaptive_neural_network.Callback):
    logs: Any = None

    def on_epoch_end(self, epoch: int, trainer: Any, logs: Any = None) -> None:
        self.logs = dict(logs)


def test_metrics_of_training_are_in_the_logs_of_an_epoch_under_the_names_of_each_system() -> None:
    ours, theirs = KerasLogs(), AdaptiveLogs()
    result = fit(ours, theirs, task=tiny_classification(), epochs=1)

    accuracy = result.history.latest("train/accuracy")
    assert ours.epochs[0]["accuracy"] == theirs.logs["train_accuracy"] == accuracy
    assert accuracy is not None
    assert 0 <= accuracy <= 1


def test_metrics_of_training_are_means_over_the_samples_of_an_epoch() -> None:
    logs = KerasLogs()
    task = tiny_classification()
    fit(logs, task=task, epochs=1)

    sizes = [8, 8, 4]  # 20 samples by 8
    values = [batch["accuracy"] for batch in logs.batches]
    mean = sum(v * n for v, n in zip(values, sizes, strict=True)) / sum(sizes)
    assert logs.epochs[0]["accuracy"] == pytest.approx(mean)


def test_a_metric_that_the_step_logs_itself_keeps_its_values() -> None:
    class Logs(Trainer):
        def training_step(self, run: Run, batch: Any) -> Output:
            output = super().training_step(run, batch)
            run.log("accuracy", 0.25)
            return output

    logs, task = KerasLogs(), tiny_classification()
    trainer, _ = trainer_of([logs], task=task)
    own = Logs(
        task.model,
        loss=trainer.loss,
        optimizer=trainer.optimizer,
        metrics=trainer.metrics,
        callbacks=[logs],
        settings=trainer.settings,
    )
    result = own.fit(task.train, epochs=1)

    assert result.history.values("train/accuracy") == [0.25]


def test_a_run_without_such_callbacks_computes_no_metrics_of_training() -> None:
    result = fit(nn_handler.Callback(), task=tiny_classification(), epochs=1)

    assert "train/accuracy" not in result.history.names


def test_a_callback_that_leaves_takes_its_metrics_of_training_along() -> None:
    logs = KerasLogs()
    trainer, task = trainer_of([logs], task=tiny_classification())
    trainer.fit(task.train, epochs=1)

    assert "on_batch_start" not in trainer.callbacks.table()


# --- whatever the validation is called -----------------------------------------------------------


def on_dev(*callbacks: Any) -> Any:
    trainer, task = trainer_of(callbacks)
    return trainer.fit(task.train, {"dev": task.validation}, epochs=1)


class HandlerLogs(nn_handler.Callback):
    """Keeps the logs of each hook."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Any] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        self.seen["train_begin"] = dict(logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.seen["epoch_begin"] = dict(logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.seen.setdefault("batch_begin", dict(logs))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen.setdefault("batch_end", dict(logs))

    def on_val_begin(self, logs: Any = None) -> None:
        self.seen["val_begin"] = dict(logs)

    def on_val_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen.setdefault("val_batch_end", dict(logs))

    def on_val_end(self, logs: Any = None) -> None:
        self.seen["val_end"] = dict(logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seen["epoch_end"] = dict(logs)
        assert self.handler is not None
        self.seen["val_losses"] = self.handler.val_losses
        self.seen["val_loader"] = self.handler.val_loader

    def on_train_end(self, logs: Any = None) -> None:
        self.seen["train_end"] = dict(logs)


def test_a_validation_of_any_name_has_their_names() -> None:
    handler, adaptive, logs = HandlerLogs(), AdaptiveLogs(), KerasLogs()
    result = on_dev(handler, adaptive, logs)

    loss = result.history.latest("dev/loss")
    assert handler.seen["epoch_end"]["val_loss"] == loss
    assert (handler.seen["val_losses"], handler.seen["val_loader"] is None) == ([loss], False)
    assert adaptive.logs["val_loss"] == loss
    assert logs.epochs[0]["val_loss"] == loss


# --- nn_handler ----------------------------------------------------------------------------------


def test_logs_of_nn_handler_hold_what_it_gives_in_each_hook() -> None:
    logs = HandlerLogs()
    fit(logs, task=tiny_classification(), epochs=1)
    seen = logs.seen

    assert seen["train_begin"] == {"start_epoch": 0, "total_epochs": 1, "world_size": 1}
    assert seen["epoch_begin"] == {"epoch": 1}
    assert seen["batch_begin"] == {"batch": 0, "size": 8}
    assert set(seen["batch_end"]) == {"batch", "size", "loss", "accuracy"}
    assert set(seen["val_begin"]) == {"epoch", "loss", "accuracy"}
    assert set(seen["val_batch_end"]) == {"batch", "size", "val_loss", "val_accuracy"}
    assert set(seen["val_end"]) == {*seen["val_begin"], "val_loss", "val_accuracy"}
    assert set(seen["epoch_end"]) == {*seen["val_end"], "lr", "lr_group_0", "epoch_time"}
    assert set(seen["train_end"]) == {*seen["epoch_end"], "final_epoch", "world_size"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("seed", 0),
        ("train_metrics_history", {}),
        ("val_metrics_history", {}),
        ("metrics", {}),
        ("model_kwargs", {}),
    ],
)
def test_the_handler_shows(name: str, expected: Any) -> None:
    class Looks(nn_handler.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seen = getattr(self.handler, name)

    looks = Looks()
    fit(looks, epochs=1)

    assert looks.seen == expected


def test_the_handler_counts_says_and_removes() -> None:
    class Uses(nn_handler.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            assert self.handler is not None
            self.count = self.handler.count_parameters()
            self.keys = self.handler.monitor_keys()
            self.handler.logger.debug("said")
            self.handler.remove_callback(self)

    uses = Uses()
    trainer, task = trainer_of([uses])
    result = trainer.fit(task.train, task.validation, epochs=2)

    assert not result.failed_callbacks
    assert uses.count == sum(p.numel() for p in task.model.parameters())
    assert uses.keys == ["loss", "val_loss", "lr", "epoch"]
    assert uses not in trainer.callbacks


@pytest.mark.parametrize("name", ["_optimizer", "_scheduler", "_loss_fn", "ema"])
def test_parts_of_the_handler_that_are_the_trainers_can_not_be_replaced(name: str) -> None:
    class Sets(nn_handler.Callback):
        refused: Any = None

        def on_train_begin(self, logs: Any = None) -> None:
            try:
                setattr(self.handler, name, None)
            except UnknownAttributeError as error:
                self.refused = error

    sets = Sets()
    fit(sets, epochs=1)

    assert "Trainer(" in str(sets.refused) or "EMA" in str(sets.refused)


# --- Keras ---------------------------------------------------------------------------------------


def during_keras(do: Any) -> tuple[Any, Any]:
    """What `do` makes of `self.model` in `on_epoch_begin`, and the optimizer afterwards."""

    class Does(keras.Callback):
        result: Any = None

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.result = do(self.model)

    task, callback = tiny_regression(), Does()
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.1, momentum=0.9)
    trainer, _ = trainer_of([callback], task=task, optimizer=optimizer)
    trainer.fit(task.train, epochs=1)
    return callback.result, optimizer.param_groups[0]


def test_the_learning_rate_is_a_number_that_can_be_assigned() -> None:
    def halve(model: Any) -> Any:
        rate = model.optimizer.learning_rate
        rate.assign(rate * 0.5)
        return float(rate.numpy()), rate.value

    (before, value), group = during_keras(halve)

    assert before == pytest.approx(0.1)
    assert (value, group["lr"]) == (0.1, 0.05)


@pytest.mark.parametrize(
    ("name", "key"), [("lr", "lr"), ("momentum", "momentum"), ("weight_decay", "weight_decay")]
)
def test_settings_of_the_optimizer_that_are_set_take_effect(name: str, key: str) -> None:
    _, group = during_keras(lambda model: setattr(model.optimizer, name, 0.25))

    assert group[key] == 0.25


def test_a_setting_that_the_optimizer_does_not_have_is_refused() -> None:
    with pytest.raises(UnknownAttributeError, match="`clipnorm`"):
        during_keras(lambda model: setattr(model.optimizer, "clipnorm", 1.0))


def test_the_model_is_called_and_predicts() -> None:
    inputs = torch.ones(3, 2)

    def use(model: Any) -> Any:
        return model(inputs).detach(), torch.as_tensor(model.predict(inputs, batch_size=2))

    (called, predicted), _ = during_keras(use)

    assert torch.allclose(called, predicted)


def test_the_model_names_and_counts_its_weights() -> None:
    def look(model: Any) -> Any:
        trained, other = model.trainable_weights, model.non_trainable_weights
        return model.name, model.count_params(), len(trained), len(other)

    assert during_keras(look)[0] == ("Linear", 3, 2, 0)


def test_an_evaluation_has_no_learning_rate() -> None:
    class Looks(keras.Callback):
        rate: Any = "nothing yet"

        def on_test_begin(self, logs: Any = None) -> None:
            self.rate = self.model.optimizer.learning_rate

    looks = Looks()
    trainer, task = trainer_of([looks])
    trainer.evaluate(task.validation)

    assert looks.rate is None


# --- transformers --------------------------------------------------------------------------------


class Saves(transformers.TrainerCallback):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        weights = kwargs["model"].weight.detach().clone()
        self.seen.append((state.global_step, Path(kwargs["checkpoint_path"]), weights))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seen.append("the end")


def test_on_save_comes_at_the_step_that_is_saved_and_the_last_before_the_end() -> None:
    saves = Saves()
    trainer, task = trainer_of([saves, Checkpoint(every="2 steps", keep_last=9)])
    trainer.fit(task.train, steps=5)

    *saved, end = saves.seen
    assert [step for step, _, _ in saved] == [2, 4, 5]
    assert [path.name for _, path, _ in saved] == [f"step-{n:010}" for n in (2, 4, 5)]
    assert end == "the end"


def test_the_model_in_on_save_is_the_one_that_is_saved() -> None:
    from safetensors.torch import load_file

    saves = Saves()
    trainer, task = trainer_of([Checkpoint(every="2 steps"), saves])
    trainer.fit(task.train, steps=4)

    _, path, weights = saves.seen[-2]
    stored = [t for file in path.rglob("*.safetensors") for t in load_file(file).values()]
    assert any(t.shape == weights.shape and torch.equal(t, weights) for t in stored)


def test_training_ends_once_where_nothing_is_saved_at_the_end() -> None:
    saves = Saves()
    trainer, task = trainer_of([saves, Checkpoint(every="2 steps", at_end=False)])
    trainer.fit(task.train, steps=3)

    assert saves.seen.count("the end") == 1


def test_an_epoch_is_left_together_with_training() -> None:
    class Leaves(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_epoch_stop = control.should_training_stop = True

    result = fit(Leaves())

    assert (result.outcome.status, result.outcome.step) == (Status.STOPPED, 1)


def test_state_and_args_have_the_attributes_that_callbacks_read() -> None:
    class Reads(transformers.TrainerCallback):
        seen: Any = None

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.seen = (
                *(state.logging_steps, state.eval_steps, state.num_input_tokens_seen),
                *(args.logging_steps, args.save_steps, args.warmup_steps, args.optim),
                *(args.max_grad_norm, args.weight_decay),
            )
            self.text = json.loads(args.to_json_string())

    reads = Reads()
    fit(reads, epochs=1)

    assert reads.seen == (50, 50, 0, 50, 500, 0, "sgd", 0.0, 0.0)
    assert reads.text["gradient_accumulation_steps"] == 1


@pytest.mark.parametrize("name", ["weight_decay", "logging_steps", "learning_rate", "warmup_steps"])
def test_arguments_that_nobody_would_read_can_not_be_set(name: str) -> None:
    class Sets(transformers.TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            setattr(args, name, 0.5)

    with pytest.raises(UnknownAttributeError, match=f"`{name}`"):
        fit(Sets(), epochs=1)


# --- pytorch-accelerated -------------------------------------------------------------------------


class Accelerated(pytorch_accelerated.TrainerCallback):
    def __init__(self, hook: str, do: Any) -> None:
        setattr(self, hook, lambda trainer, **_: do(trainer))


def test_a_metric_of_a_callback_is_not_mixed_with_the_run_s_own() -> None:
    def add(trainer: Any) -> None:
        trainer.run_history.update_metric("accuracy", 9.0)

    callback = Accelerated("on_eval_epoch_end", add)
    result = fit(callback, task=tiny_classification(), epochs=1)

    assert result.history.values("run_history/accuracy") == [9.0]
    assert all(value <= 1 for value in result.history.values("val/accuracy"))


def test_a_reset_history_begins_again() -> None:
    seen: list[Any] = []

    def look(trainer: Any) -> None:
        history = trainer.run_history
        seen.append(len(history.get_metric_values("train_loss_epoch")))
        history.reset()
        seen.append(history.get_metric_names())

    fit(Accelerated("on_training_run_epoch_end", look), epochs=2)

    assert seen == [1, set(), 1, set()]


def test_the_trainer_is_made_known_once_over_several_runs() -> None:
    seen: list[str] = []
    callback = Accelerated("on_init_end", lambda trainer: seen.append("made"))
    trainer, task = trainer_of([callback])
    at_once = list(seen)
    trainer.fit(task.train, epochs=1)
    trainer.evaluate(task.validation)

    assert at_once == seen == ["made"]


def test_a_trainer_that_is_made_has_its_model_and_no_run_configuration() -> None:
    seen: list[Any] = []

    def look(trainer: Any) -> None:
        seen.extend((trainer.model, trainer.run_config, len(trainer.callback_handler.callbacks)))

    _, task = trainer_of([Accelerated("on_init_end", look)])

    assert seen == [task.model, None, 1]


def test_what_is_set_on_a_trainer_that_is_made_is_there_in_its_run() -> None:
    seen: list[Any] = []

    class Setting(pytorch_accelerated.TrainerCallback):
        def on_init_end(self, trainer: Any, **kwargs: Any) -> None:
            trainer.topic = "digits"

        def on_training_run_start(self, trainer: Any, **kwargs: Any) -> None:
            seen.append(trainer.topic)

    fit(Setting(), epochs=1)

    assert seen == ["digits"]


@pytest.mark.parametrize("dialect", [adaptive_neural_network, pytorch_accelerated])
def test_a_file_that_is_loaded_has_the_keys_of_their_checkpoints(dialect: Any) -> None:
    seen: dict[str, Any] = {}

    def save_and_load(trainer: Any) -> None:
        trainer.save_checkpoint("state.pt")
        seen.update(trainer.load_checkpoint("state.pt"))

    if dialect is pytorch_accelerated:
        fit(Accelerated("on_training_run_epoch_end", save_and_load), epochs=1)
    else:

        class Saving(adaptive_neural_network.Callback):
            def on_epoch_end(self, epoch: int, trainer: Any, logs: Any = None) -> None:
                save_and_load(trainer)

        fit(Saving(), epochs=1)

    assert set(seen["model_state_dict"]) == {"weight", "bias"}
    assert seen["optimizer_state_dict"]["param_groups"]


# --- Dream Trainer -------------------------------------------------------------------------------


def test_callbacks_of_dream_trainer_are_heard_after_a_resume() -> None:
    class Counts(dream_trainer.Callback):
        loaded: Any = None

        def state_dict(self) -> dict[str, Any]:
            return {"counted": 3}

        def post_load_state_dict(self, loaded_callback_names: set[str]) -> None:
            self.loaded = loaded_callback_names

    def train(epochs: int, resume: str | None) -> Any:
        counts = Counts()
        trainer, task = trainer_of([counts, Checkpoint()])
        trainer.fit(task.train, epochs=epochs, resume=resume)
        return counts.loaded

    assert train(1, None) is None
    assert "Counts" in train(2, "auto")


def test_a_callback_of_their_own_base_class_leaves_the_run() -> None:
    def refuses(self: Any) -> None:
        raise AssertionError("their collection isn't there")

    place = {"__module__": "dream_trainer.callbacks.callback", "pop_self": refuses}
    base = type("Callback", (), place)

    class Once(base):  # type: ignore[misc, valid-type]
        times = 0

        def post_train_step(self, result: Any, batch_idx: int) -> None:
            self.times += 1
            self.pop_self()

    once = Once()
    fit(once, epochs=1)

    assert once.times == 1


def test_the_trainer_of_dream_trainer_finds_models_optimizers_and_schedulers() -> None:
    class Looks(dream_trainer.Callback[dream_trainer.LoggerMixin]):
        seen: Any = None

        def pre_fit(self) -> None:
            t, run = self.trainer, self.trainer.run
            self.seen = (
                t.get_model("model") is run.model,
                t.get_model_by_optimizer("optimizer") is run.model,
                t.get_optimizers_by_model("model") == [run.optimizer],
                t.get_scheduler_from_optimizer(run.optimizer),
                list(t.named_rngs()),
            )

    looks = Looks()
    fit(looks, epochs=1)

    assert looks.seen == (True, True, True, None, ["torch"])


# --- messages ------------------------------------------------------------------------------------


def test_an_attribute_that_can_not_be_set_is_not_suggested_again() -> None:
    def replace(trainer: Any) -> None:
        trainer.optimizer = None

    with pytest.raises(UnknownAttributeError) as refused:
        fit(Accelerated("on_training_run_start", replace), epochs=1)

    assert "did you mean" not in str(refused.value)


def test_a_view_can_not_be_made_as_their_trainer_is() -> None:
    with pytest.raises(UsageError, match=r"make a `trackside.Trainer`"):
        adaptive_neural_network.Trainer(model=None, loader=None)


def test_a_hook_that_gets_a_method_in_a_run_is_heard_after_a_refresh() -> None:
    class Grows(Native):
        steps = 0

        def on_fit_start(self, run: Run) -> None:
            def count(run: Run) -> None:
                self.steps += 1

            vars(self)["on_step_end"] = count
            run.callbacks.refresh()

    grows = Grows()
    fit(grows, epochs=1)

    assert grows.steps == 3
