"""Callbacks of the Hugging Face Trainer, written against its events; its own callbacks run in
test_originals.py."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from tests.dialects.training import fit, hooks_of, trainer_of
from trackside import Settings
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.dialects.transformers import (
    TABLE,
    TrainerCallback,
    TrainerControl,
    adapt,
)
from trackside.errors import RegistrationError, UsageError
from trackside.lifecycle.hooks import HOOKS
from trackside.outcome import Status
from trackside.testing import tiny_classification


def noting(seen: list[Any], *events: str) -> Any:
    """A callback that notes its events in `seen`."""

    def note(name: str) -> Any:
        def hook(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen.append(name)

        return hook

    names = events or [name for name in TABLE if name not in ("on_push_begin", "on_log")]
    return type("Noting", (TrainerCallback,), {name: note(name) for name in names})()


STEP = ["on_step_begin", "on_pre_optimizer_step", "on_optimizer_step", "on_step_end"]


def test_events_come_in_the_order_of_the_trainer_of_transformers() -> None:
    seen: list[str] = []
    fit(noting(seen), epochs=1)

    evaluation = [*["on_prediction_step"] * 2, "on_evaluate"]
    assert seen == [
        "on_init_end",
        "on_train_begin",
        "on_epoch_begin",
        *STEP * 3,
        "on_epoch_end",
        *evaluation,
        "on_train_end",
    ]


def test_batches_within_a_step_end_a_substep() -> None:
    seen: list[str] = []
    fit(noting(seen, "on_substep_end", "on_step_end"), epochs=1, accumulate=2)

    assert seen == ["on_substep_end", "on_step_end", "on_step_end"]


def test_prediction_and_saving_have_their_events() -> None:
    seen: list[str] = []
    trainer, task = trainer_of(
        [noting(seen, "on_predict", "on_save"), Checkpoint(every=None, background=False)]
    )
    trainer.fit(task.train, epochs=1)
    trainer.predict(task.validation)

    assert seen == ["on_save", "on_predict"]


def test_state_arguments_and_parts_are_those_of_the_run() -> None:
    class Looking(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.state = state.global_step, state.epoch, state.max_steps, state.num_train_epochs
            self.args = args.num_train_epochs, args.max_steps, args.per_device_train_batch_size
            self.rates = args.learning_rate, args.gradient_accumulation_steps, args.output_dir
            self.parts = set(kwargs)
            self.model = kwargs["model"]
            self.loaders = len(kwargs["train_dataloader"]), len(kwargs["eval_dataloader"])

    looking = Looking()
    fit(looking)

    assert looking.state == (6, 2.0, 6, 2)
    assert looking.args == (2, -1, 4)
    assert looking.rates == (0.1, 1, "run")
    parts = {"model", "optimizer", "lr_scheduler", "train_dataloader", "eval_dataloader"}
    assert looking.parts == {*parts, "processing_class"}
    assert isinstance(looking.model, nn.Linear)
    assert looking.loaders == (3, 2)


def test_logs_and_metrics_have_their_names() -> None:
    logs_seen: list[dict[str, float]] = []

    class Looking(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any, **kwargs: Any) -> None:  # type: ignore[override]
            logs.pop("total_flos", None)
            logs_seen.append(logs)

        def on_evaluate(  # type: ignore[override]
            self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any
        ) -> None:
            self.metrics = metrics
            self.history = state.log_history

    looking = Looking()
    settings = Settings(device="cpu", directory="run", log_every="2 steps")
    fit(looking, epochs=1, task=tiny_classification(), settings=settings)

    assert [set(logs) for logs in logs_seen[:1]] == [{"loss", "epoch"}]
    assert {"train_loss", "eval_loss", "eval_accuracy"} <= set().union(*logs_seen)
    assert set(looking.metrics) == {"eval_loss", "eval_accuracy", "epoch"}
    assert looking.history[0]["step"] == 2


@pytest.mark.parametrize("returns", [True, False])
def test_control_becomes_requests(returns: bool) -> None:
    class Asking(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            if state.global_step == 2:
                control.should_evaluate = control.should_save = True
            control.should_training_stop = state.global_step == 4
            return control if returns else None

    seen: list[str] = []
    saving = Checkpoint(every=None, background=False)
    trainer, task = trainer_of([Asking(), noting(seen, "on_evaluate", "on_save"), saving])
    result = trainer.fit(task.train, task.validation, epochs=9)

    assert result.outcome.status is Status.STOPPED
    assert (result.outcome.step, result.outcome.asked_by) == (4, "Asking")
    assert seen[:2] == ["on_evaluate", "on_save"]


def test_a_control_of_ones_own_is_taken() -> None:
    class Replacing(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            return TrainerControl(should_training_stop=True)

    assert fit(Replacing(), epochs=9).outcome.step == 1


def test_an_epoch_is_ended_early() -> None:
    class Asking(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_epoch_stop = True

    result = fit(Asking(), epochs=3)

    assert [(one.epoch, one.step) for one in result.ended_epochs] == [(0, 1), (1, 2), (2, 3)]


def test_asking_for_a_record_is_told_to_have_no_effect() -> None:
    class Asking(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_log = True

    with pytest.warns(UserWarning, match="log_every") as caught:
        fit(Asking())
    assert len(caught) == 1


def test_asking_for_an_evaluation_without_data_says_so() -> None:
    class Asking(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_evaluate = True

    with pytest.raises(UsageError, match="no data for it"):
        fit(Asking(), validate=False)


def test_the_best_metric_is_that_of_the_evaluations_before() -> None:
    bests: list[Any] = []

    class Looking(TrainerCallback):
        def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            bests.append(state.best_metric)

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            bests.append((state.best_metric, state.best_global_step))

    result = fit(Looking(), epochs=3)

    values = result.history.values("val/loss")
    first, second, third, end = bests
    assert [first, second, third] == [None, values[0], min(values[:2])]
    assert end == (min(values), 3 * (values.index(min(values)) + 1))


def test_settings_that_the_run_does_not_know_are_given_with_the_callback() -> None:
    class Looking(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.seen = args.metric_for_best_model, args.greater_is_better, args.my_own
            self.all = args.to_dict()

    looking = Looking()
    given = {"metric_for_best_model": "accuracy", "greater_is_better": True, "my_own": 1}
    fit(adapt(looking, **given), task=tiny_classification())

    assert looking.seen == ("accuracy", True, 1)
    assert looking.all["num_train_epochs"] == 2
    assert looking.all["my_own"] == 1


def test_what_is_no_callback_of_theirs_is_not_adapted() -> None:
    with pytest.raises(RegistrationError, match="not a callback of transformers"):
        adapt(object())


def test_a_class_is_taken_for_an_instance() -> None:
    assert trainer_of([TrainerCallback])[0].callbacks.names == ("TrainerCallback",)


def test_exported_state_goes_into_the_checkpoint() -> None:
    class Counting(TrainerCallback):
        def __init__(self, patience: int) -> None:
            self.patience = patience
            self.count = 0

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.count += 1

        def state(self) -> dict[str, Any]:
            return {"args": {"patience": self.patience}, "attributes": {"count": self.count}}

    def run(epochs: int, patience: int, resume: Any = None) -> Counting:
        counting = Counting(patience)
        trainer, task = trainer_of([counting, Checkpoint()])
        trainer.fit(task.train, epochs=epochs, resume=resume)
        return counting

    run(1, patience=1)
    resumed = run(2, patience=7, resume="auto")

    assert (resumed.count, resumed.patience) == (6, 7)


def test_no_event_is_missing_from_the_table() -> None:
    assert hooks_of(TrainerCallback) == set(TABLE)
    assert {hook for row in TABLE.values() for hook in row.carriers} <= set(HOOKS)


def test_an_event_that_is_not_supported_says_why_when_the_callback_joins() -> None:
    with pytest.warns(UserWarning, match="never called: nothing is pushed"):
        trainer_of([noting([], "on_push_begin")])


def test_the_callback_that_steers_their_loop_is_refused() -> None:
    default = type("DefaultFlowCallback", (TrainerCallback,), {})

    with pytest.raises(RegistrationError, match="nothing to do here"):
        trainer_of([default()])


def test_an_unknown_attribute_names_dialect_attribute_and_native_way() -> None:
    class Asking(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            args.num_train_epoch  # noqa: B018

    with pytest.raises(AttributeError, match="transformers: a `TrainingArguments`") as caught:
        fit(Asking())
    assert caught.match("did you mean `num_train_epochs`")
