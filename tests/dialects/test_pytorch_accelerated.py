"""What pytorch-accelerated promises its callbacks, kept: one test per promise, by its number."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.dialects.training import fit, hooks_of, trainer_of
from trackside import Callback as Native
from trackside import Settings
from trackside import Trainer as NativeTrainer
from trackside.callbacks import Checkpoint
from trackside.dialects import state_file
from trackside.dialects.pytorch_accelerated import (
    TABLE,
    CallbackHandler,
    StopTrainingError,
    TrainerCallback,
)
from trackside.dialects.pytorch_accelerated.methods import TrainerMethods
from trackside.errors import DuplicateCallbackError
from trackside.lifecycle.hooks import HOOKS
from trackside.outcome import Status
from trackside.run import Run
from trackside.testing import tiny_classification, tiny_regression


class MyTrainer(TrainerMethods, NativeTrainer):
    """A trainer that notes its methods."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.seen: list[str] = []

    def training_run_start(self) -> None:
        self.seen.append("method training_run_start")

    def train_epoch_start(self) -> None:
        self.seen.append("method train_epoch_start")

    def train_epoch_end(self) -> None:
        self.seen.append("method train_epoch_end")

    def eval_epoch_start(self) -> None:
        self.seen.append("method eval_epoch_start")

    def eval_epoch_end(self) -> None:
        self.seen.append("method eval_epoch_end")

    def training_run_epoch_end(self) -> None:
        self.seen.append("method training_run_epoch_end")

    def training_run_end(self) -> None:
        self.seen.append("method training_run_end")


def my_trainer(kind: type[Any], *callbacks: Any, **options: Any) -> Any:
    task = tiny_regression()
    trainer = kind(
        task.model,
        loss=task.loss,
        optimizer=task.optimizer,
        callbacks=callbacks,
        defaults=False,
        seed=0,
        settings=Settings(device="cpu", directory="run"),
        **options,
    )
    return trainer, task


def noting(seen: list[Any], *events: str) -> Any:
    """A callback that notes its events in `seen`."""

    def note(name: str) -> Any:
        def hook(self: Any, trainer: Any, **kwargs: Any) -> None:
            seen.append(name)

        return hook

    return type("Noting", (TrainerCallback,), {name: note(name) for name in events or TABLE})()


def test_pa_01_callbacks_run_in_order_and_see_what_earlier_ones_did() -> None:
    class Writing(TrainerCallback):
        def on_eval_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
            trainer.run_history.update_metric("score", trainer.run_history.current_epoch * 1.5)
            trainer.note = "written"

    class Reading(TrainerCallback):
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def on_eval_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
            self.seen.append((trainer.run_history.get_latest_metric("score"), trainer.note))

    reading = Reading()
    fit(Writing(), reading)

    assert reading.seen == [(1.5, "written"), (3.0, "written")]


def test_pa_02_an_event_comes_after_the_method_of_its_name() -> None:
    trainer, task = my_trainer(MyTrainer)
    events = [f"on_{name.removeprefix('method ')}" for name in EPOCH_METHODS]
    trainer.callbacks.append(noting(trainer.seen, *events))

    trainer.fit(task.train, task.validation, epochs=1)

    pairs = [[method, f"on_{method.removeprefix('method ')}"] for method in EPOCH_METHODS]
    assert trainer.seen == [name for pair in pairs for name in pair]


EPOCH_METHODS = [
    "method training_run_start",
    "method train_epoch_start",
    "method train_epoch_end",
    "method eval_epoch_start",
    "method eval_epoch_end",
    "method training_run_epoch_end",
    "method training_run_end",
]


def test_pa_03_the_trainer_is_there_in_every_event() -> None:
    seen: dict[str, bool] = {}

    def looking(name: str) -> Any:
        def hook(self: Any, trainer: Any, **kwargs: Any) -> None:
            seen[name] = name == "on_init_end" or isinstance(trainer.model, nn.Linear)
            if name == "on_eval_epoch_end":
                raise StopTrainingError

        return hook

    callback = type("Looking", (TrainerCallback,), {name: looking(name) for name in TABLE})()
    trainer, task = trainer_of([callback])
    trainer.fit(task.train, task.validation, epochs=1)
    trainer.evaluate(task.validation)

    # The stop asked for at the evaluation's end passes over the end of the epoch.
    assert set(TABLE) - set(seen) == {"on_training_run_epoch_end"}
    assert all(seen.values())


def test_pa_04_a_stop_training_error_ends_the_run_with_its_events() -> None:
    seen: list[str] = []

    class Stopping(TrainerCallback):
        def on_training_run_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
            if trainer.run_history.current_epoch == 2:
                raise StopTrainingError("enough")

    ends = ("on_training_run_epoch_end", "on_stop_training_error", "on_training_run_end")
    result = fit(Stopping(), noting(seen, *ends), epochs=9)

    assert result.outcome.status is Status.STOPPED
    assert (result.outcome.reason, result.outcome.asked_by) == ("enough", "Stopping")
    assert result.outcome.step == 6
    assert seen == [
        "on_training_run_epoch_end",
        "on_training_run_epoch_end",
        "on_stop_training_error",
        "on_training_run_end",
    ]


def test_pa_04_a_stop_within_an_epoch_passes_over_what_is_left_of_it() -> None:
    seen: list[str] = []

    class Stopping(TrainerCallback):
        def on_train_step_end(self, trainer: Any, step: int, **kwargs: Any) -> None:  # type: ignore[override]
            if step == 1:
                raise StopTrainingError

    fit(noting(seen), Stopping(), epochs=9)

    steps = ["on_train_step_start", "on_train_step_end"] * 2
    assert seen == [
        "on_init_end",
        "on_training_run_start",
        "on_train_epoch_start",
        *steps,
        "on_stop_training_error",
        "on_training_run_end",
    ]


def test_pa_04_the_step_in_which_it_is_raised_is_not_applied() -> None:
    class Stopping(TrainerCallback):
        def on_train_step_end(self, trainer: Any, **kwargs: Any) -> None:  # type: ignore[override]
            raise StopTrainingError

    trainer, task = trainer_of([Stopping()])
    before = task.weights
    trainer.fit(task.train, epochs=1)

    assert torch.equal(task.weights, before)


def test_pa_05_losses_are_recorded_and_callbacks_add_metrics() -> None:
    names: list[set[str]] = []

    class Adding(TrainerCallback):
        def on_eval_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
            names.append(set(trainer.run_history.get_metric_names()))
            trainer.run_history.update_metric("score", 0.25)
            trainer.run_history.update_metric("matrix", torch.eye(2))

    class Logging(TrainerCallback):
        def on_eval_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
            names.append(set(trainer.run_history.get_metric_names()))

    result = fit(Adding(), Logging(), epochs=1)

    losses = {"train_loss_epoch", "eval_loss_epoch"}
    assert names == [losses, {*losses, "score", "matrix"}]
    assert result.history.values("val/score") == [0.25]


def test_pa_05_a_metric_that_a_callback_adds_is_seen_by_callbacks_of_ours() -> None:
    seen: list[float] = []

    class Adding(TrainerCallback):
        def on_eval_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
            trainer.run_history.update_metric("score", 0.25)

    class Watching(Native):
        monitors = ("val/score",)

        def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
            seen.append(metrics["val/score"])

    fit(Adding(), Watching())

    assert seen == [0.25, 0.25]


def test_pa_06_an_event_of_any_name_calls_those_who_have_it() -> None:
    called: list[tuple[str, int]] = []

    class Verifying(TrainerCallback):
        def batch_drawn(self, trainer: Any, size: int) -> None:
            called.append(("verifying", size))

    class Indifferent(TrainerCallback):
        pass

    class Drawing(TrainerMethods, NativeTrainer):
        def calculate_train_batch_loss(self, batch: Any) -> dict[str, Any]:
            self.callback_handler.call_event("batch_drawn", trainer=self, size=len(batch[0]))
            return super().calculate_train_batch_loss(batch)

    trainer, task = my_trainer(Drawing, Indifferent(), Verifying(), Native())
    trainer.fit(task.train, epochs=1)

    assert called == [("verifying", 4), ("verifying", 4), ("verifying", 2)]


def test_pa_06_a_callback_fires_events_too() -> None:
    called: list[str] = []

    class Answering(TrainerCallback):
        def something_else(self, trainer: Any, text: str) -> None:
            called.append(text)

    class Asking(TrainerCallback):
        def on_train_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
            trainer.callback_handler.call_event("something_else", trainer, text="hello")

    fit(Asking(), Answering(), epochs=1)

    assert called == ["hello"]


def test_pa_06_a_stop_raised_in_an_own_event_ends_the_run() -> None:
    class Answering(TrainerCallback):
        def checked(self, trainer: Any) -> None:
            raise StopTrainingError("not this one")

    class Asking(TrainerCallback):
        def on_train_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
            trainer.callback_handler.call_event("checked", trainer)

    assert fit(Answering(), Asking(), epochs=9).outcome.reason == "not this one"


def test_pa_07_a_subclass_may_define_events_of_any_name() -> None:
    class Free(TrainerCallback):
        def on_train_epoch_ends(self, trainer: Any) -> None: ...
        def verify(self, trainer: Any) -> None: ...

    assert fit(Free()).outcome.status is Status.COMPLETED


@pytest.mark.parametrize(("metric", "greater"), [("eval_loss_epoch", False), ("score", True)])
def test_pa_08_a_callback_watches_any_metric_in_either_direction(
    metric: str, greater: bool
) -> None:
    class Scoring(TrainerCallback):
        def on_eval_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
            trainer.run_history.update_metric("score", -trainer.run_history.current_epoch)

    class Patience(TrainerCallback):
        best: float | None = None

        def on_training_run_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
            value = trainer.run_history.get_latest_metric(metric)
            better = self.best is None or (value > self.best if greater else value < self.best)
            if not better:
                raise StopTrainingError(f"{metric} is no better")
            self.best = value
            trainer.save_checkpoint("best.pt", checkpoint_kwargs={metric: value})

    result = fit(Scoring(), Patience(), epochs=30)

    assert result.outcome.reason == f"{metric} is no better"
    saved = state_file.read("best.pt")
    assert saved["kwargs"] == {metric: pytest.approx(saved["kwargs"][metric])}
    if metric == "score":
        assert result.outcome.step == 6


def test_pa_09_a_loss_that_is_not_a_number_ends_the_run_and_is_not_applied() -> None:
    class Watching(TrainerCallback):
        def on_train_step_end(
            self, trainer: Any, batch: Any, batch_output: dict[str, Any], **kwargs: Any
        ) -> None:
            if not torch.isfinite(batch_output["loss"]).all():
                raise StopTrainingError("the loss is not finite")

    task = tiny_regression()
    steps = 0

    def loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        mean = nn.functional.mse_loss(prediction, target)
        return mean * (math.nan if steps == 2 else 1.0)

    trainer, _ = trainer_of([Watching()], task=task, loss=loss)
    result = trainer.fit(task.train, epochs=3)

    assert result.outcome.reason == "the loss is not finite"
    assert result.outcome.step == 2
    assert torch.isfinite(task.weights).all()


def test_pa_10_metrics_are_computed_from_what_the_steps_return() -> None:
    class Accuracy(TrainerCallback):
        right = total = 0

        def on_training_run_start(self, trainer: Any, **kwargs: Any) -> None:
            self.device = trainer._eval_dataloader.device

        def on_eval_step_end(
            self, trainer: Any, batch: Any, batch_output: dict[str, Any], **kwargs: Any
        ) -> None:
            chosen = batch_output["model_outputs"].argmax(dim=-1)
            self.right += int((chosen == batch[1]).sum())
            self.total += batch_output["batch_size"]

        def on_eval_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
            trainer.run_history.update_metric("right", self.right / self.total)

    callback = Accuracy()
    result = fit(callback, task=tiny_classification(), epochs=1)

    assert callback.device == torch.device("cpu")
    assert callback.total == 10
    assert result.history.latest("val/right") == result.history.latest("val/accuracy")


def test_pa_10_an_own_event_in_the_batch_loss_sees_the_run_configuration() -> None:
    sizes: list[tuple[int, int]] = []

    class Verifying(TrainerCallback):
        def verify_batch(self, trainer: Any, inputs: Any) -> None:
            expected = trainer.run_config["train_per_device_batch_size"]
            assert expected == trainer.run_config.train_per_device_batch_size
            sizes.append((len(inputs), expected))

    class Calling(TrainerMethods, NativeTrainer):
        def calculate_train_batch_loss(self, batch: Any) -> dict[str, Any]:
            inputs, _ = batch
            self.callback_handler.call_event("verify_batch", trainer=self, inputs=inputs)
            output = super().calculate_train_batch_loss(batch)
            return {**output, "norm": inputs.norm()}

    class Reading(TrainerCallback):
        norms = 0

        def on_train_step_end(
            self, trainer: Any, batch: Any, batch_output: dict[str, Any], **kwargs: Any
        ) -> None:
            self.norms += bool(torch.equal(batch_output["norm"], batch[0].norm()))

    reading = Reading()
    trainer, task = my_trainer(Calling, Verifying(), reading)
    trainer.fit(task.train, task.validation, epochs=1)

    assert sizes == [(4, 4), (4, 4), (2, 4)]
    assert reading.norms == 3


# --- timing ------------------------------------------------------------------------------------


def test_all_events_come_in_their_order() -> None:
    seen: list[str] = []
    fit(noting(seen), epochs=1)

    assert seen == [
        "on_init_end",
        "on_training_run_start",
        "on_train_epoch_start",
        *["on_train_step_start", "on_train_step_end"] * 3,
        "on_train_epoch_end",
        "on_eval_epoch_start",
        *["on_eval_step_start", "on_eval_step_end"] * 2,
        "on_eval_epoch_end",
        "on_training_run_epoch_end",
        "on_training_run_end",
    ]


def test_a_step_ends_before_its_backward_pass() -> None:
    class Looking(TrainerCallback):
        def __init__(self) -> None:
            self.gradients: list[Any] = []

        def on_train_step_end(self, trainer: Any, **kwargs: Any) -> None:  # type: ignore[override]
            self.gradients.append(trainer.model.weight.grad)

    looking = Looking()
    fit(looking, epochs=1)

    assert looking.gradients == [None, None, None]


def test_the_epoch_is_counted_from_1_in_every_event_of_it() -> None:
    seen: list[tuple[str, int]] = []

    def note(name: str) -> Any:
        def hook(self: Any, trainer: Any, **kwargs: Any) -> None:
            seen.append((name, trainer.run_history.current_epoch))

        return hook

    names = ["on_train_epoch_start", "on_train_epoch_end", "on_eval_epoch_end"]
    names += ["on_training_run_epoch_end", "on_training_run_end"]
    fit(type("Noting", (TrainerCallback,), {name: note(name) for name in names})())

    assert seen == [(n, e) for e in (1, 2) for n in names[:-1]] + [(names[-1], 3)]


def test_after_a_stop_the_epoch_is_the_one_in_which_it_came() -> None:
    seen: list[int] = []

    class Stopping(TrainerCallback):
        def on_training_run_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
            raise StopTrainingError("enough")

        def on_training_run_end(self, trainer: Any, **kwargs: Any) -> None:
            seen.append(trainer.run_history.current_epoch)

    fit(Stopping())

    assert seen == [1]


def test_an_evaluation_run_has_events_of_its_own() -> None:
    seen: list[str] = []
    trainer, task = trainer_of([noting(seen)])

    trainer.evaluate(task.validation)

    steps = ["on_eval_step_start", "on_eval_step_end"] * 2
    around = ["on_init_end", "on_evaluation_run_start", "on_eval_epoch_start"]
    assert seen == [*around, *steps, "on_eval_epoch_end", "on_evaluation_run_end"]


def test_an_evaluation_within_an_epoch_is_intermediate() -> None:
    seen: list[bool] = []

    class Looking(TrainerCallback):
        def on_eval_epoch_start(
            self, trainer: Any, is_intermediate: bool = False, **_: Any
        ) -> None:
            seen.append(is_intermediate)

    trainer, task = trainer_of([Looking()])
    trainer.fit(task.train, task.validation, epochs=1, evaluate_every="2 steps")

    assert seen == [True, False]


# --- registering, the table, the view ----------------------------------------------------------


def test_a_class_is_taken_for_an_instance() -> None:
    trainer, _ = trainer_of([TrainerCallback])

    assert trainer.callbacks.names == ("TrainerCallback",)


def test_a_second_callback_of_a_class_is_refused() -> None:
    class Once(TrainerCallback):
        pass

    with pytest.raises(DuplicateCallbackError, match="class `Once` already"):
        trainer_of([Once(), Once])


def test_a_handler_of_theirs_calls_and_holds_callbacks() -> None:
    seen: list[str] = []
    handler = CallbackHandler([noting(seen, "anything")])
    handler.add_callbacks([TrainerCallback])

    handler.call_event("anything", None)
    handler.call_event("nothing", None)

    assert seen == ["anything"]
    assert handler.callback_list == ["Noting", "TrainerCallback"]
    assert trainer_of(handler)[0].callbacks.names == ("Noting", "TrainerCallback")
    handler.clear_callbacks()
    assert list(handler) == []


def test_no_hook_is_missing_from_the_table() -> None:
    assert hooks_of(TrainerCallback) == set(TABLE)
    assert {hook for row in TABLE.values() for hook in row.carriers} <= set(HOOKS)


def test_a_metric_without_a_value_is_an_error_that_names_those_with_one() -> None:
    class Asking(TrainerCallback):
        def on_train_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
            trainer.run_history.get_latest_metric("train_loss")

    with pytest.raises(ValueError, match="did you mean `train_loss_epoch`"):
        fit(Asking())


def test_deleted_and_prefixed_metrics() -> None:
    seen: dict[str, Any] = {}

    class Managing(TrainerCallback):
        def on_eval_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
            history = trainer.run_history
            history.set_metric_name_prefix("ema_")
            history.update_metric("score", 1.0)
            seen["prefix"] = history.metric_name_prefix
            seen["values"] = history.get_metric_values("ema_score")
            history.delete_metric("ema_score")
            history.delete_metric("eval_loss_epoch")
            seen["names"] = history.get_metric_names()

    fit(Managing(), epochs=1)

    assert seen == {"prefix": "ema_", "values": [1.0], "names": {"train_loss_epoch"}}


def test_a_best_model_is_saved_and_put_back_at_the_end() -> None:
    class Best(TrainerCallback):
        best = math.inf

        def on_training_run_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
            value = trainer.run_history.get_latest_metric("eval_loss_epoch")
            if value < self.best:
                self.best = value
                trainer.save_checkpoint("best.pt", checkpoint_kwargs={"value": value})

        def on_training_run_end(self, trainer: Any, **kwargs: Any) -> None:
            self.loaded = trainer.load_checkpoint("best.pt")

    best = Best()
    trainer, task = trainer_of([best])
    result = trainer.fit(task.train, task.validation, epochs=3)

    assert best.best == min(result.history.values("val/loss"))
    assert best.loaded["value"] == best.best
    assert torch.equal(best.loaded["model"]["weight"], task.model.weight)  # type: ignore[arg-type]
    assert Path("best.pt").stat().st_size > 0


def test_replacing_the_model_replaces_what_is_trained() -> None:
    class Twice(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner
            self.calls = 0

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            output: torch.Tensor = self.inner(inputs) * 2
            return output

    class Replacing(TrainerCallback):
        def on_training_run_start(self, trainer: Any, **kwargs: Any) -> None:
            self.model = trainer.model = Twice(trainer.model)

    replacing = Replacing()
    fit(replacing, epochs=1, validate=False)

    assert replacing.model.calls == 3


@pytest.mark.parametrize(
    ("attribute", "way"),
    [("_run_eval_epoch", "run.evaluate"), ("loss_func", r"Trainer\(loss=")],
)
def test_an_unknown_attribute_names_dialect_attribute_and_native_way(
    attribute: str, way: str
) -> None:
    class Asking(TrainerCallback):
        def on_training_run_start(self, trainer: Any, **kwargs: Any) -> None:
            getattr(trainer, attribute)

    with pytest.raises(AttributeError, match=f"pytorch_accelerated.*`{attribute}`") as caught:
        fit(Asking())
    assert caught.match(way)


def test_slicing_the_loader_names_the_native_way() -> None:
    class Slicing(TrainerCallback):
        def on_training_run_start(self, trainer: Any, **kwargs: Any) -> None:
            trainer._train_dataloader = []

    with pytest.raises(AttributeError, match="BatchLimit"):
        fit(Slicing())


def test_a_key_that_the_run_configuration_lacks_names_the_nearest() -> None:
    class Asking(TrainerCallback):
        def on_training_run_start(self, trainer: Any, **kwargs: Any) -> None:
            assert trainer.run_config.to_dict()["num_processes"] == 1
            _ = trainer.run_config["num_epoch"]

    with pytest.raises(KeyError, match="did you mean `num_epochs`"):
        fit(Asking())


# --- methods of their trainer that Trackside calls by other names ------------------------------


class Own(TrainerMethods, NativeTrainer):
    """Notes what is called, and what it finds."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **options)


def own_trainer(kind: type[Own], **options: Any) -> tuple[Any, Any]:
    task = tiny_regression()
    settings = Settings(device="cpu", directory="run")
    given = {"loss": task.loss, "optimizer": task.optimizer, "settings": settings, **options}
    return kind(task.model, defaults=False, seed=0, **given), task


def plain_weights(**options: Any) -> torch.Tensor:
    trainer, task = own_trainer(Own, **options)
    trainer.fit(task.train, task.validation, epochs=1)
    return task.weights


def test_the_steps_of_an_update_are_overridden_and_call_what_they_replace() -> None:
    class Noting(Own):
        def backward_step(self, loss: Any) -> None:
            self.seen.append("backward")
            super().backward_step(loss)

        def optimizer_step(self) -> None:  # type: ignore[override]
            self.seen.append("step")
            super().optimizer_step()

        def optimizer_zero_grad(self) -> None:
            self.seen.append("zero")

    trainer, task = own_trainer(Noting)
    trainer.fit(task.train, task.validation, epochs=1)

    assert trainer.seen == ["backward", "step", "zero"] * 3
    assert torch.equal(task.weights, plain_weights())


def test_a_step_that_is_overridden_and_does_nothing_leaves_the_weights_alone() -> None:
    class Still(Own):
        def optimizer_step(self) -> None:  # type: ignore[override]
            self.seen.append(type(self.optimizer).__name__)

    trainer, task = own_trainer(Still)
    before = task.weights
    trainer.fit(task.train, epochs=1)

    assert torch.equal(task.weights, before)
    assert trainer.seen == ["SGD"] * 3


def halving(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)


def test_the_scheduler_is_moved_by_the_method_after_each_update() -> None:
    class Moving(Own):
        def scheduler_step(self) -> None:
            super().scheduler_step()
            self.seen.append(self.optimizer.param_groups[0]["lr"])

    trainer, task = own_trainer(Moving, scheduler=halving)
    trainer.fit(task.train, epochs=1)

    assert trainer.seen == [0.05, 0.025, 0.0125]


def test_the_scheduler_is_made_by_the_method() -> None:
    class Making(Own):
        def create_scheduler(self) -> Any:
            return torch.optim.lr_scheduler.StepLR(self.optimizer, 1, gamma=0.1)

    trainer, task = own_trainer(Making)
    trainer.fit(task.train, steps=2)

    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.001)


def test_a_scheduler_that_a_method_moves_goes_on_after_a_resume() -> None:
    class Moving(Own):
        def scheduler_step(self) -> None:
            super().scheduler_step()
            self.seen.append(self.optimizer.param_groups[0]["lr"])

    first, task = own_trainer(Moving, scheduler=halving, callbacks=[Checkpoint("1 epoch")])
    first.fit(task.train, epochs=1)
    second, task = own_trainer(Moving, scheduler=halving, callbacks=[Checkpoint("1 epoch")])
    second.fit(task.train, epochs=2, resume="auto")

    assert second.seen == pytest.approx([0.1 / 16, 0.1 / 32, 0.1 / 64])


def test_loaders_are_made_by_the_methods() -> None:
    class Loading(Own):
        def create_train_dataloader(self, batch_size: int, train_dl_kwargs: Any = None) -> Any:
            self.seen.append(("train", batch_size, len(self.train_dataset)))
            return super().create_train_dataloader(batch_size, {"drop_last": True})

        def create_eval_dataloader(self, batch_size: int, eval_dl_kwargs: Any = None) -> Any:
            self.seen.append(("eval", batch_size, len(self.eval_dataset)))
            return super().create_eval_dataloader(batch_size)

    trainer, task = own_trainer(Loading)
    result = trainer.fit(task.train.dataset, task.validation.dataset, epochs=1, batch_size=4)

    assert trainer.seen == [("train", 4, 10), ("eval", 4, 5)]
    assert result.outcome.step == 2


def test_samples_are_collated_by_the_trainer_s_function() -> None:
    sizes: list[int] = []

    def collate(samples: list[Any]) -> Any:
        sizes.append(len(samples))
        return torch.utils.data.default_collate(samples)

    trainer, task = own_trainer(Own)
    trainer.collate_fn = collate
    trainer.fit(task.train.dataset, epochs=1, batch_size=5)

    assert sizes == [5, 5]
