"""The built-ins of Noether under their own names and options, in Python and in files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.dialects.training import trainer_of
from trackside import Output, Run, Settings, Trainer
from trackside.callbacks.reporting.dataset_stats import DatasetStats
from trackside.callbacks.reporting.parameter_count import ParameterCount
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.config.checking.kinds import CALLBACKS
from trackside.config.checking.options import options_of
from trackside.dialects import noether, state_file
from trackside.dialects.noether.built_ins import progress_of
from trackside.errors import ConfigurationError, MonitorError, NonFiniteError, ScheduleError
from trackside.lifecycle.adoption import ours_for
from trackside.outcome import Status
from trackside.testing import tiny_regression

EACH: dict[str, Any] = {"every_n_updates": 1}


class Writes(noether.PeriodicCallback):
    """Writes a value per update."""

    def __init__(self, *values: float, key: str = "test/score") -> None:
        super().__init__(noether.CallBackBaseConfig(**EACH))
        self.values, self.key = values, key

    def periodic_callback(self, *, update_counter: Any, **_: Any) -> None:
        self.writer.add_scalar(self.key, self.values[update_counter.update - 1])


def run(*callbacks: Any, steps: int = 3, **options: Any) -> Any:
    trainer, task = trainer_of(callbacks, **options)
    return trainer.fit(task.train, steps=steps)


def files() -> set[str]:
    return {p.stem for p in Path("run/checkpoints").glob("*.safetensors")}


# --- saving --------------------------------------------------------------------------------------


def test_checkpoints_are_saved_at_intervals_and_at_the_end() -> None:
    config = noether.CheckpointCallbackConfig(every_n_updates=2, save_optim=True)
    run(noether.CheckpointCallback(config), steps=3)

    assert files() == {"E0_U2_S8", "latest", "last"}
    assert "optimizers" in state_file.read("run/checkpoints/last.safetensors")


def test_the_best_weights_are_saved_and_variants_that_stay_when_it_gets_worse() -> None:
    config = noether.BestCheckpointCallbackConfig(
        metric_key="test/score", tolerances=[1], every_n_updates=1
    )
    run(Writes(0.5, 0.4, 0.3, 0.9), noether.BestCheckpointCallback(config), steps=4)

    assert files() == {"best_model.test.score", "best_model.test.score.tolerance=1"}

    def step(name: str) -> int:
        progress = state_file.read(f"run/checkpoints/{name}.safetensors")["progress"]
        return int(progress["steps_completed"])

    assert step("best_model.test.score") == 4
    assert step("best_model.test.score.tolerance=1") == 1


def test_the_best_value_goes_on_after_a_resume() -> None:
    def best(steps: int, resume: str | None) -> Any:
        config = noether.BestCheckpointCallbackConfig(metric_key="test/score", every_n_updates=1)
        callback = noether.BestCheckpointCallback(config)
        trainer, task = trainer_of([Writes(0.9, 0.5, 0.6), callback, Checkpoint(every="1 step")])
        trainer.fit(task.train, steps=steps, resume=resume)
        return callback.best_metric_value

    assert best(1, None) == 0.9
    assert best(3, "auto") == 0.9


def test_a_metric_that_nobody_writes_is_an_error_with_those_that_are_written() -> None:
    config = noether.BestCheckpointCallbackConfig(metric_key="test/scroe", every_n_updates=1)

    with pytest.raises(MonitorError, match="did you mean `test/score`"):
        run(Writes(0.5, 0.5, 0.5), noether.BestCheckpointCallback(config))


def test_averages_follow_the_weights_by_their_factors() -> None:
    config = noether.EmaCallbackConfig(target_factors=[0.0, 1.0], every_n_updates=3)
    callback, task = noether.EmaCallback(config), tiny_regression()
    before = task.model.state_dict()["weight"].clone()
    run(callback, task=task, steps=3)

    assert torch.equal(callback.averages["0.0"]["weight"], task.model.state_dict()["weight"])
    assert torch.equal(callback.averages["1.0"]["weight"], before)
    assert files() == {f"ema={f}_{tag}" for f in ("0.0", "1.0") for tag in ("E1_U3_S10", "last")}


# --- stopping ------------------------------------------------------------------------------------


def test_a_metric_that_stands_still_ends_training() -> None:
    config = noether.MetricEarlyStopperConfig(metric_key="test/score", tolerance=2, **EACH)
    result = run(Writes(0.5, 0.6, 0.6, 0.6, 0.9), noether.MetricEarlyStopper(config), steps=5)

    assert (result.outcome.status, result.outcome.step) == (Status.STOPPED, 4)


@pytest.mark.parametrize(
    ("end", "step"),
    [({"stop_at_update": 2}, 2), ({"stop_at_sample": 5}, 2), ({"stop_at_epoch": 1}, 3)],
)
def test_training_ends_at_a_fixed_point(end: dict[str, Any], step: int) -> None:
    config = noether.FixedEarlyStopperConfig(**end, **EACH)
    result = run(noether.FixedEarlyStopper(config), steps=9)

    assert result.outcome.step == step


def test_a_fixed_end_is_one() -> None:
    with pytest.raises(ConfigurationError, match="exactly one of stop_at_epoch"):
        noether.FixedEarlyStopperConfig(stop_at_epoch=1, stop_at_update=2, **EACH)


# --- watching ------------------------------------------------------------------------------------


def test_the_best_metric_is_written_with_those_beside_it() -> None:
    config = noether.BestMetricCallbackConfig(
        source_metric_key="test/score",
        target_metric_keys=["test/other"],
        optional_target_metric_keys=["test/none"],
        **EACH,
    )
    others = Writes(1.0, 2.0, 3.0, key="test/other")
    callbacks = (Writes(0.5, 0.9, 0.1), others, noether.BestMetricCallback(config))
    others.name = "others"
    result = run(*callbacks)

    assert result.history.values("test/other/at_best/test/score") == [1.0, 2.0, 2.0]


def test_the_mean_loss_over_an_interval_is_written() -> None:
    config = noether.OnlineLossCallbackConfig(every_n_updates=3, verbose=False)
    losses: list[float] = []

    class Keeps(noether.PeriodicCallback):
        def track_after_accumulation_step(self, *, losses: Any, **_: Any) -> None:
            seen.append(float(losses["total"]))

    seen = losses
    result = run(noether.OnlineLossCallback(config), Keeps(noether.CallBackBaseConfig(**EACH)))

    (mean,) = result.history.values("loss/online/total/U3")
    assert mean == pytest.approx(sum(losses) / 3)


def test_a_mean_loss_that_is_not_finite_ends_the_run() -> None:
    class Breaks(Trainer):
        def training_step(self, run: Run, batch: Any) -> Output:
            output = super().training_step(run, batch)
            return output._replace(loss=output.loss * float("nan"))

    task = tiny_regression()
    config = noether.OnlineLossCallbackConfig(**EACH)
    trainer = Breaks(
        task.model,
        loss=torch.nn.functional.mse_loss,
        optimizer=torch.optim.SGD(task.model.parameters(), lr=0.1),
        callbacks=[noether.OnlineLossCallback(config)],
        defaults=False,
        settings=Settings(device="cpu", directory="run"),
    )
    with pytest.raises(NonFiniteError, match="the training loss 'total' is nan"):
        trainer.fit(task.train, epochs=1)


def test_rates_times_and_outputs_are_written() -> None:
    class Says(Trainer):
        def training_step(self, run: Run, batch: Any) -> Any:
            output = super().training_step(run, batch)
            return {"loss": output.loss, "norm_a": torch.tensor(2.0), "other": torch.tensor(1.0)}

    task = tiny_regression()
    tracked = noether.TrackOutputsCallbackConfig(
        patterns=["norm"], every_n_updates=3, save_output=True
    )
    trainer = Says(
        task.model,
        loss=torch.nn.functional.mse_loss,
        optimizer=torch.optim.SGD(task.model.parameters(), lr=0.1),
        callbacks=[
            noether.LrCallback(noether.CallBackBaseConfig(**EACH)),
            noether.TrainTimeCallback(noether.CallBackBaseConfig(**EACH)),
            noether.PeakMemoryCallback(noether.CallBackBaseConfig(**EACH)),
            noether.TrackOutputsCallback(tracked),
        ],
        defaults=False,
        settings=Settings(device="cpu", directory="run"),
    )
    history = trainer.fit(task.train, steps=3).history

    assert history.values("optim/lr/0") == [0.1, 0.1, 0.1]
    assert len(history.values("profiling/train_time")) == 3
    assert history.values("outputs/norm_a/U3") == [2.0]
    assert "outputs/other/U3" not in history.names
    assert state_file.read("run/outputs/3.safetensors")["norm_a"].tolist() == [2.0, 2.0, 2.0]


def test_progress_is_logged_with_the_time_that_is_left(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "trackside"):
        run(noether.ProgressCallback(noether.CallBackBaseConfig(**EACH)))

    lines = [r.getMessage() for r in caplog.records if "per update" in r.getMessage()]
    assert len(lines) == 3
    assert lines[-1].startswith("epoch 1, update 3 of 3, sample 10, ")


def test_the_time_that_is_left_follows_from_the_updates_of_this_process() -> None:
    counter = noether.UpdateCounter(
        noether.TrainingIteration(1, 30, 120), noether.TrainingIteration(None, 50), None, None
    )

    assert progress_of(counter, first=10, seconds=40.0).endswith("2 s per update, 40 s left")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("DatasetStatsCallback", DatasetStats), ("ParamCountCallback", ParameterCount)],
)
def test_what_only_looks_before_training_is_ours(theirs: str, ours: type) -> None:
    trainer, _ = trainer_of([getattr(noether, theirs)()])

    assert isinstance(trainer.callbacks[theirs], ours)


@pytest.mark.parametrize("name", ["DatasetStatsCallback", "ParamCountCallback"])
def test_what_looks_once_has_no_frequency(name: str) -> None:
    made = getattr(noether, name)
    with pytest.raises(ConfigurationError, match="it looks once") as info:
        made(every_n_epochs=1)
    assert info.value.option == "every_n_epochs"
    assert made(trainer=None, name="it")


# --- by kind, in files ---------------------------------------------------------------------------

NAMES = (
    *("ProgressCallback", "DatasetStatsCallback", "LrCallback", "PeakMemoryCallback"),
    *("OnlineLossCallback", "ParamCountCallback", "EtaCallback", "TrainTimeCallback"),
    *("BestCheckpointCallback", "CheckpointCallback", "EMACallback", "MetricEarlyStopping"),
    *("FixedUpdateEarlyStopping", "BestMetricCallback", "TrackOutputsCallback"),
)


@pytest.mark.parametrize("name", NAMES)
def test_each_built_in_is_found_by_the_kind_that_their_files_have(name: str) -> None:
    assert ours_for(f"noether.core.callbacks.{name}") == f"trackside.dialects.noether.{name}"
    assert callable(CALLBACKS.resolve(f"noether.core.callbacks.{name}"))


def test_the_options_of_a_kind_are_those_of_its_configuration() -> None:
    made = CALLBACKS.resolve("noether.core.callbacks.BestCheckpointCallback")

    names = set(options_of(made).table)
    assert {"metric_key", "tolerances", "every_n_epochs", "every_n_updates", "name"} <= names
    assert isinstance(made(metric_key="a/b", every_n_epochs=1), noether.BestCheckpointCallback)
    with pytest.raises(ScheduleError):
        made(metric_key="a/b")


def test_a_file_of_ours_takes_an_entry_of_theirs() -> None:
    from trackside.config import load

    Path("run.yaml").write_text(
        """
model: {kind: Linear, in_features: 2, out_features: 1}
loss: mse
optimizer: {kind: sgd, lr: 0.1}
trainer: {epochs: 1}
data: {train: {kind: tests.dialects.test_noether_built_ins.data}}
callbacks:
  - kind: noether.core.callbacks.CheckpointCallback
    name: CallbackInstanceName
    every_n_epochs: 1
    save_optim: true
"""
    )
    trainer = load("run.yaml").trainer()

    callback = trainer.callbacks["CallbackInstanceName"]
    assert (callback.every_n_epochs, callback.config.save_optim) == (1, True)


def data() -> Any:
    return tiny_regression().train
