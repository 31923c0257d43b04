"""What Noether promises its callbacks, kept: one test per promise, by its number."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from tests.dialects.training import fit, hooks_of, trainer_of
from trackside import Settings
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.callbacks.stopping.early_stopping import EarlyStopping
from trackside.config.experiment.loading import load
from trackside.config.text.problem import ExperimentError
from trackside.dialects import state_file
from trackside.dialects.noether import (
    TABLE,
    CallbackBase,
    CallBackBaseConfig,
    EarlyStopIteration,
    PeriodicCallback,
    PeriodicDataIteratorCallback,
    PeriodicDataIteratorCallbackConfig,
    SamplerIntervalConfig,
    UpdateCounter,
    build,
)
from trackside.errors import ConfigurationError, DataError, ScheduleError, UsageError
from trackside.lifecycle.hooks import HOOKS
from trackside.outcome import Status
from trackside.trainer.defaults import DEFAULTS

EVERY_EPOCH = CallBackBaseConfig(every_n_epochs=1)


class Counting(PeriodicCallback):
    """Notes when it was due: which interval, and the counters."""

    def __init__(self, callback_config: CallBackBaseConfig, **kwargs: Any) -> None:
        super().__init__(callback_config, **kwargs)
        self.due: list[tuple[str, int | None, int | None, int | None]] = []

    def periodic_callback(
        self, *, interval_type: str, update_counter: UpdateCounter, **kwargs: Any
    ) -> None:
        now = update_counter
        self.due.append((interval_type, now.epoch, now.update, now.sample))


class Predicting(PeriodicDataIteratorCallback):
    """Passes over a data set and keeps what `process_results` got."""

    def __init__(self, callback_config: Any, **kwargs: Any) -> None:
        super().__init__(callback_config, **kwargs)
        self.results: list[Any] = []

    def process_data(self, batch: Any, **_: Any) -> Any:
        inputs, target = batch
        return {"prediction": self.model(inputs), "target": target, "size": len(inputs)}

    def process_results(self, results: Any, **_: Any) -> None:
        self.results.append(results)


def over_test(**options: Any) -> PeriodicDataIteratorCallbackConfig:
    return PeriodicDataIteratorCallbackConfig(
        **{"every_n_epochs": 1, "dataset_key": "test", **options}
    )


def numbered(count: int) -> TensorDataset:
    """A data set whose items tell their index."""
    numbers = torch.arange(float(count))
    return TensorDataset(torch.stack([numbers, numbers], dim=1), numbers.reshape(-1, 1))


def test_no_01_there_is_a_hook_for_every_stage() -> None:
    seen: list[str] = []

    class Everywhere(PeriodicCallback):
        def before_training(self, *, update_counter: UpdateCounter) -> None:
            seen.append("before")

        def track_after_accumulation_step(self, *, accumulation_step: int, **_: Any) -> None:
            seen.append(f"batch {accumulation_step}")

        def track_after_update_step(
            self, *, update_counter: UpdateCounter, times: dict[str, float]
        ) -> None:
            assert times["data_time"] >= 0
            seen.append(f"update {update_counter.update}")

        def periodic_callback(self, *, interval_type: str, **_: Any) -> None:
            seen.append(interval_type)

        def after_training(self, *, update_counter: UpdateCounter) -> None:
            seen.append("after")

    trainer, task = trainer_of([Everywhere(EVERY_EPOCH)], accumulate=2)
    trainer.fit(task.train, epochs=1)
    batches = ["batch 0", "batch 1", "update 1", "batch 0", "update 2"]
    assert seen == ["before", *batches, "epoch", "after"]

    seen.clear()
    trainer.evaluate(task.validation)
    assert seen == ["eval"]


def test_no_01_a_batch_is_told_with_its_losses_and_outputs() -> None:
    class Tracking(PeriodicCallback):
        def track_after_accumulation_step(
            self, *, batch: Any, losses: dict[str, Tensor], update_outputs: Any, **rest: Any
        ) -> None:
            assert losses["total"].requires_grad is False
            self.shapes = batch[0].shape, update_outputs["prediction"].shape
            self.rest = rest

    tracking = Tracking(EVERY_EPOCH)
    fit(tracking, epochs=1)

    assert tracking.shapes == ((2, 2), (2, 1))
    assert set(tracking.rest) == {"update_counter", "accumulation_steps", "accumulation_step"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"every_n_epochs": 2}, [("epoch", 2, 6, 20), ("epoch", 4, 12, 40)]),
        ({"every_n_updates": 5}, [("update", 1, 5, 18), ("update", 3, 10, 34)]),
        # Counts are crossed: batches have 4, 4 and 2 samples.
        ({"every_n_samples": 15}, [("sample", 1, 5, 18), ("sample", 3, 9, 30)]),
    ],
)
def test_no_02_periodic_callbacks_are_due_after_every_n(
    config: dict[str, Any], expected: list[Any]
) -> None:
    counting = Counting(CallBackBaseConfig(**config))
    fit(counting, epochs=4)

    assert counting.due[:2] == expected


def test_no_02_a_resumed_run_is_due_as_an_unbroken_one() -> None:
    def run(epochs: int, resume: str | None) -> list[Any]:
        counting = Counting(CallBackBaseConfig(every_n_updates=4))
        trainer, task = trainer_of([counting, Checkpoint()])
        trainer.fit(task.train, epochs=epochs, resume=resume)
        return counting.due

    assert [n for _, _, n, _ in run(2, None)] == [4]
    assert [n for _, _, n, _ in run(4, "auto")] == [8, 12]


def test_no_03_a_data_set_is_passed_over_whole_in_order_each_item_once() -> None:
    predicting = Predicting(over_test())
    trainer, task = trainer_of([predicting])
    trainer.fit(task.train, epochs=1, data={"test": DataLoader(numbered(7), batch_size=3)})

    (results,) = predicting.results
    assert results["target"].flatten().tolist() == list(range(7))
    with torch.no_grad():
        expected = task.model(numbered(7).tensors[0])
    assert torch.allclose(results["prediction"], expected)


def test_no_03_numbers_of_batches_come_as_one_tensor() -> None:
    predicting = Predicting(over_test())
    trainer, task = trainer_of([predicting])
    trainer.fit(task.train, epochs=1, data={"test": DataLoader(numbered(7), batch_size=3)})

    assert predicting.results[0]["size"].tolist() == [3, 3, 1]


@pytest.mark.parametrize("form", ["tensor", "tuple", "scalar tensor"])
def test_no_03_results_are_collated_whatever_their_form(form: str) -> None:
    class Various(Predicting):
        def process_data(self, batch: Any, **_: Any) -> Any:
            target = batch[1].flatten()
            forms: dict[str, Any] = {
                "tensor": target,
                "tuple": (target, target * 2),
                "scalar tensor": target.sum(),
            }
            return forms[form]

    various = Various(over_test())
    trainer, task = trainer_of([various])
    trainer.fit(task.train, epochs=1, data={"test": DataLoader(numbered(5), batch_size=2)})

    (results,) = various.results
    expected: dict[str, Any] = {
        "tensor": [0, 1, 2, 3, 4],
        "tuple": ([0, 1, 2, 3, 4], [0, 2, 4, 6, 8]),
        "scalar tensor": [1, 5, 4],
    }
    if isinstance(results, tuple):
        assert tuple(part.tolist() for part in results) == expected[form]
    else:
        plain = results.tolist() if isinstance(results, Tensor) else results
        assert plain == expected[form]


def test_no_03_training_is_left_as_it_was() -> None:
    def weights(*callbacks: Any) -> Tensor:
        trainer, task = trainer_of(callbacks)
        test = {"test": DataLoader(numbered(7), batch_size=3)}
        trainer.fit(task.train, epochs=3, data=test)
        assert task.model.training
        return task.weights

    assert torch.equal(
        weights(Predicting(over_test(every_n_epochs=None, every_n_updates=2))), weights()
    )


def test_no_04_monitoring_is_installed_without_being_asked_for() -> None:
    """Progress, data set statistics, learning rate, peak memory, parameters, ETA and train time."""
    monitoring = {"progress", "data", "learning_rate", "peak_memory", "parameters", "train_time"}

    trainer, _ = trainer_of([], defaults=True)

    assert monitoring <= set(DEFAULTS)
    assert monitoring <= set(trainer.callbacks.names)


def test_no_04_what_is_monitored_without_being_asked_for_is_told() -> None:
    result = fit(epochs=1, defaults=True)

    told = {name.partition("/")[0] for name in result.history.names}
    monitored = {"data", "parameters", "lr", "memory", "train_time", "throughput", "time"}
    assert monitored <= told
    assert "train/loss" in result.history.names


@pytest.fixture
def my_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `my_callbacks` that configurations name."""
    module = ModuleType("my_callbacks")

    class AccuracyConfig(PeriodicDataIteratorCallbackConfig):
        threshold: float = 0.5

    class Accuracy(Predicting):
        def __init__(self, callback_config: AccuracyConfig, **kwargs: Any) -> None:
            super().__init__(callback_config, **kwargs)
            self.threshold = callback_config.threshold

    Accuracy.__init__.__annotations__["callback_config"] = AccuracyConfig
    vars(module).update(Accuracy=Accuracy, Counting=Counting, Base=CallbackBase, text="")
    vars(module).update(rows=lambda: TensorDataset(torch.ones(4, 2), torch.ones(4, 1)))
    monkeypatch.setitem(sys.modules, "my_callbacks", module)


@pytest.mark.usefixtures("my_callbacks")
def test_no_05_a_callback_is_built_of_kind_name_frequency_and_options() -> None:
    entry = {
        "kind": "my_callbacks.Accuracy",
        "name": "Accuracy at 0.7",
        "every_n_epochs": 1,
        "dataset_key": "test",
        "threshold": 0.7,
    }

    callback: Any = build(entry)

    assert (callback.threshold, callback.dataset_key) == (0.7, "test")
    assert trainer_of([callback])[0].callbacks.names == ("Accuracy at 0.7",)


@pytest.mark.usefixtures("my_callbacks")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "received: none"),
        ({"every_n_epochs": 1, "every_n_updates": 2}, "every_n_epochs=1, every_n_updates=2"),
        ({"every_n_epochs": 0}, "positive"),
    ],
)
def test_no_05_no_frequency_two_or_an_impossible_one_is_an_error(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ScheduleError, match=message):
        build({"kind": "my_callbacks.Counting", **options})


@pytest.mark.usefixtures("my_callbacks")
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"every_n_epochs": 1}, "needs a `kind`"),
        ({"kind": "my_callbacks.Acuracy", "every_n_epochs": 1}, "no callback `my_callbacks.Acur"),
        ({"kind": "my_callbacks.text"}, "isn't a callback of Noether"),
        (
            {"kind": "my_callbacks.Counting", "every_n_epochs": 1, "batchsize": 2},
            "did you mean `batch_size`",
        ),
    ],
)
def test_no_05_what_is_wrong_with_an_entry_is_told(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build(entry)


@pytest.mark.usefixtures("my_callbacks")
def test_no_05_a_callback_without_intervals_needs_no_frequency() -> None:
    assert build({"kind": "my_callbacks.Base", "name": "start"}).name == "start"


EXPERIMENT = """
data: {{train: {{kind: my_callbacks.rows}}, test: {{kind: my_callbacks.rows}}}}
model: {{kind: Linear, in_features: 2, out_features: 1}}
loss: mse
optimizer: {{kind: sgd, lr: 0.1}}
trainer: {{epochs: 2, defaults: false, device: cpu}}
callbacks:
{callbacks}
"""


def experiment(callbacks: str) -> Any:
    Path("run.yaml").write_text(EXPERIMENT.format(callbacks=callbacks))
    return load("run.yaml")


@pytest.mark.usefixtures("my_callbacks")
def test_no_05_built_ins_and_callbacks_of_theirs_are_configured_in_one_file() -> None:
    trainer = experiment(
        """
  - kind: trackside.callbacks.saving.checkpoint.Checkpoint
    name: saving
    every_n_epochs: 1
  - kind: trackside.dialects.noether.callback
    name: predicting
    of: my_callbacks.Accuracy
    every_n_epochs: 1
    dataset_key: test
    options: {threshold: 0.9}
"""
    ).trainer("run")

    # The trainer of a file brings callbacks of its own.
    own = [name for name in trainer.callbacks.names if name in ("predicting", "saving")]
    assert own == ["saving", "predicting"]
    assert str(trainer.callbacks["saving"].every) == "1 epoch"
    assert trainer.callbacks["predicting"].threshold == 0.9


@pytest.mark.usefixtures("my_callbacks")
def test_no_05_two_frequencies_of_a_built_in_are_an_error_with_their_place() -> None:
    with pytest.raises(ExperimentError, match=r"run.yaml:\d+:\d+: callbacks.saving"):
        experiment(
            """
  - kind: trackside.callbacks.saving.checkpoint.Checkpoint
    name: saving
    every_n_epochs: 1
    every_n_updates: 5
"""
        )


def test_no_06_early_stopping_stops_on_a_plateau() -> None:
    class Plateau(PeriodicCallback):
        best, bad = float("inf"), 0

        def periodic_callback(self, **_: Any) -> None:
            value = self.trainer.run.history.latest("train/loss") or 0.0
            self.bad = 0 if value < self.best - 0.5 else self.bad + 1
            self.best = min(self.best, value)
            if self.bad == 2:
                raise EarlyStopIteration("no progress")

    result = fit(Plateau(EVERY_EPOCH), epochs=50)

    assert result.outcome.status is Status.STOPPED
    assert result.outcome.reason == "no progress"
    assert result.outcome.step < 150


def test_no_06_a_value_that_a_callback_writes_is_watched_by_ours() -> None:
    class Scoring(PeriodicCallback):
        def periodic_callback(self, **_: Any) -> None:
            self.writer.add_scalar("score/test", 1.0)

    result = fit(Scoring(EVERY_EPOCH), EarlyStopping("score/test", patience=2), epochs=20)

    assert result.outcome.status is Status.STOPPED


def test_no_07_weights_are_saved_periodically_or_on_a_new_best() -> None:
    class Saving(PeriodicCallback):
        best = float("inf")

        def periodic_callback(self, *, update_counter: UpdateCounter, **_: Any) -> None:
            self.checkpoint_writer.save(self.model, f"E{update_counter.epoch}")
            value = self.trainer.run.history.latest("val/loss") or 0.0
            if value < self.best:
                self.best = value
                self.checkpoint_writer.save(model=self.model, checkpoint_tag="best")

    trainer, task = trainer_of([Saving(EVERY_EPOCH)])
    trainer.fit(task.train, task.validation, epochs=2)

    folder = Path("run/checkpoints")
    assert {path.name for path in folder.iterdir()} >= {"E1.safetensors", "E2.safetensors"}
    saved = state_file.read(folder / "E2.safetensors")["model"]["weight"]
    assert torch.equal(saved, task.model.weight)  # type: ignore[arg-type]
    assert (folder / "best.safetensors").is_file()


def test_no_08_process_results_gets_what_process_data_returned_for_the_whole_set() -> None:
    predicting = Predicting(over_test(batch_size=2))
    trainer, task = trainer_of([predicting])
    trainer.fit(task.train, epochs=2, data={"test": numbered(5)})

    assert [len(results["prediction"]) for results in predicting.results] == [5, 5]
    assert predicting.results[0]["size"].tolist() == [2, 2, 1]


def test_no_08_a_periodic_callback_with_both_methods_passes_over_data_too() -> None:
    class Plain(PeriodicCallback):
        def process_data(self, batch: Any, **_: Any) -> dict[str, Tensor]:
            return {"target": batch[1]}

        def process_results(self, results: dict[str, Tensor], **_: Any) -> None:
            self.writer.add_scalar("total", results["target"].sum().item())

    trainer, task = trainer_of([Plain(over_test())])
    result = trainer.fit(task.train, epochs=1, data={"test": numbered(5)})

    assert result.history.latest("test/total") == 10.0


def test_no_09_a_sampler_of_ones_own_says_which_items_and_in_which_order() -> None:
    class Backwards(Predicting):
        def register_sampler_config(self) -> SamplerIntervalConfig:
            return SamplerIntervalConfig(sampler=[4, 2, 0], batch_size=2)

    backwards = Backwards(over_test())
    trainer, task = trainer_of([backwards])
    trainer.fit(task.train, epochs=1, data={"test": numbered(5)})

    assert backwards.results[0]["target"].flatten().tolist() == [4, 2, 0]


def test_no_09_a_pipeline_of_ones_own_makes_the_batches() -> None:
    class Doubled(Predicting):
        def register_sampler_config(self) -> SamplerIntervalConfig:
            config = super()._sampler_config_from_key(self.dataset_key, max_size=3)
            config.pipeline = lambda items: (
                torch.stack([inputs for inputs, _ in items]),
                torch.stack([target * 2 for _, target in items]),
            )
            return config

    doubled = Doubled(over_test())
    trainer, task = trainer_of([doubled])
    trainer.fit(task.train, epochs=1, data={"test": numbered(5)})

    assert doubled.results[0]["target"].flatten().tolist() == [0, 2, 4]


def test_no_10_model_and_writer_work_inside_a_callback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Writing(PeriodicCallback):
        def periodic_callback(self, **_: Any) -> None:
            norm = self.model.weight.norm()
            with caplog.at_level(logging.INFO):
                self.writer.add_scalar("norm/weight", norm, self.logger, format_str=".3f")
            self.written = self.writer.log_cache["norm/weight"], norm.item()

    writing = Writing(EVERY_EPOCH)
    result = fit(writing, epochs=1)

    assert writing.written[0] == writing.written[1]
    assert result.history.values("norm/weight") == [pytest.approx(writing.written[1])]
    assert f"norm/weight: {writing.written[1]:.3f}" in caplog.text


def test_no_10_before_the_run_what_it_brings_is_missed_with_the_reason() -> None:
    with pytest.raises(UsageError, match="there when the run begins"):
        CallbackBase().model  # noqa: B018


def test_no_10_what_the_constructor_is_given_is_used_until_the_run_brings_its_own() -> None:
    model = torch.nn.Linear(1, 1)

    assert CallbackBase(model=model).model is model


def test_no_11_the_data_set_is_selected_by_its_key() -> None:
    one, two = Predicting(over_test(dataset_key="one")), Predicting(over_test(dataset_key="two"))
    trainer, task = trainer_of([one, two])
    trainer.fit(task.train, epochs=1, data={"one": numbered(3), "two": numbered(4)})

    assert len(one.results[0]["target"]) == 3
    assert len(two.results[0]["target"]) == 4


def test_no_11_a_key_that_the_run_has_no_data_for_is_an_error_at_the_start() -> None:
    class Never(Predicting):
        def track_after_update_step(self, **_: Any) -> None:
            raise AssertionError("training has begun")

    trainer, task = trainer_of([Never(over_test(dataset_key="tset"))])
    with pytest.raises(ConfigurationError, match="did you mean `test`"):
        trainer.fit(task.train, epochs=1, data={"test": numbered(3)})


def test_no_11_any_data_will_do_but_a_sampler_needs_items_to_pick() -> None:
    batches = [(torch.ones(2, 2), torch.ones(2, 1)), (torch.ones(1, 2), torch.zeros(1, 1))]
    predicting = Predicting(over_test())
    trainer, task = trainer_of([predicting])
    trainer.fit(task.train, epochs=1, data={"test": batches})
    assert predicting.results[0]["target"].flatten().tolist() == [1, 1, 0]

    trainer, task = trainer_of([Predicting(over_test(batch_size=2))])
    with pytest.raises(DataError, match="can't be picked"):
        trainer.fit(task.train, epochs=1, data={"test": batches})


def test_no_11_without_a_key_it_is_not_known_over_what_to_pass() -> None:
    class Keyless(PeriodicCallback):
        def process_data(self, batch: Any, **_: Any) -> Any: ...

    with pytest.raises(ConfigurationError, match="doesn't say over which"):
        fit(Keyless(EVERY_EPOCH))


def test_no_12_before_and_after_training_need_the_base_class_only() -> None:
    seen: list[tuple[str, int | None]] = []

    class Both(CallbackBase):
        def before_training(self, *, update_counter: UpdateCounter) -> None:
            seen.append(("before", update_counter.update))

        def after_training(self, *, update_counter: UpdateCounter) -> None:
            seen.append(("after", update_counter.update))

    fit(Both())

    assert seen == [("before", 0), ("after", 6)]


def test_no_12_after_training_comes_when_training_raises() -> None:
    class Closing(CallbackBase):
        closed = 0

        def after_training(self, *, update_counter: UpdateCounter) -> None:
            self.closed += 1

    class Failing(PeriodicCallback):
        def periodic_callback(self, **_: Any) -> None:
            raise ValueError("no")

    closing = Closing()
    with pytest.raises(ValueError, match="no"):
        fit(closing, Failing(EVERY_EPOCH))

    assert closing.closed == 1


# --- state, the table, the views ---------------------------------------------------------------


def test_state_is_saved_under_the_name_of_the_callback() -> None:
    class Stateful(CallbackBase):
        def __init__(self, name: str | None = None) -> None:
            super().__init__(name=name)
            self.count = 0

        def after_training(self, *, update_counter: UpdateCounter) -> None:
            self.count += 1

        def state_dict(self) -> dict[str, Any] | None:
            return {"count": self.count}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.count = state_dict["count"]

    trainer, _ = trainer_of([Stateful(), Stateful("second")])

    assert trainer.callbacks.state_dict() == {"Stateful": {"count": 0}, "second": {"count": 0}}


def test_no_hook_is_missing_from_the_table() -> None:
    own = hooks_of(CallbackBase) | hooks_of(PeriodicCallback)
    own |= hooks_of(PeriodicDataIteratorCallback)

    asked = {"get_interval_string_verbose", "to_short_interval_string"}
    asked |= {"updates_per_interval", "updates_till_next_invocation"}
    assert own - set(TABLE) - asked == {"state_dict", "load_state_dict"}
    assert {hook for row in TABLE.values() for hook in row.carriers} <= set(HOOKS)


def test_a_hook_that_is_not_supported_says_why_when_the_callback_joins() -> None:
    class Resuming(CallbackBase):
        def resume_from_checkpoint(self, resumption_paths: Any, model: Any) -> None: ...

    with pytest.warns(UserWarning, match="never called: state that belongs to a run"):
        trainer_of([Resuming()])


def test_the_counters_know_the_end_and_the_batch() -> None:
    class Looking(CallbackBase):
        def before_training(self, *, update_counter: UpdateCounter) -> None:
            self.counter = update_counter

    looking = Looking()
    fit(looking, accumulate=2)

    assert (looking.counter.end_iteration.epoch, looking.counter.end_iteration.update) == (2, 4)
    assert looking.counter.updates_per_epoch == 2
    assert looking.counter.effective_batch_size == 8


@pytest.mark.parametrize(
    ("path", "way"),
    [("trainer.train", "EarlyStopIteration"), ("writer.add_histogram", "gradients")],
)
def test_an_unknown_attribute_names_dialect_attribute_and_native_way(path: str, way: str) -> None:
    class Asking(CallbackBase):
        def before_training(self, *, update_counter: UpdateCounter) -> None:
            view, name = path.split(".")
            getattr(getattr(self, view), name)

    with pytest.raises(AttributeError, match="noether: a `") as caught:
        fit(Asking(), settings=Settings(device="cpu"))
    assert caught.match(way)


# --- constructors that read parts of the run ---------------------------------------------------


class Sizing(PeriodicCallback):
    """Reads the model in its constructor, as Noether's own callbacks may."""

    def __init__(self, callback_config: CallBackBaseConfig, **kwargs: Any) -> None:
        super().__init__(callback_config, **kwargs)
        self.parameters = sum(p.numel() for p in self.model.parameters())
        self.written: list[str] = []

    def periodic_callback(self, **_: Any) -> None:
        self.written.append(type(self.writer).__name__)


def test_a_constructor_gets_the_parts_of_the_run() -> None:
    sizing = f"{__name__}.Sizing"
    trainer, task = trainer_of([build({"kind": sizing, "name": "size", "every_n_epochs": 1})])
    trainer.fit(task.train, epochs=2)

    made = trainer.callbacks["size"]
    assert (made.parameters, made.written) == (3, ["Writer", "Writer"])


def test_a_file_makes_a_callback_whose_constructor_reads_the_model() -> None:
    Path("run.yaml").write_text(
        f"""
data: {{train: {{kind: trackside.testing.tiny_rows}}}}
model: {{kind: Linear, in_features: 2, out_features: 1}}
loss: mse
optimizer: {{kind: sgd, lr: 0.1}}
trainer: {{epochs: 1, defaults: false, device: cpu}}
callbacks:
  - kind: {__name__}.Sizing
    name: size
    every_n_epochs: 1
"""
    )
    trainer = load("run.yaml").run("run").trainer

    assert trainer.callbacks["size"].parameters == 3
