from __future__ import annotations

from typing import Any

import pytest
import torch

from trackside.callbacks.stopping.early_stopping import EarlyStopping
from trackside.errors import ConfigurationError, MonitorError
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.testing import ScriptedRun, script, tiny_regression


def losses(*values: float) -> list[dict[str, float]]:
    return [{"val/loss": value} for value in values]


def test_training_stops_when_patience_is_exhausted() -> None:
    run = script(EarlyStopping(patience=2), losses(0.5, 0.4, 0.45, 0.41, 0.3))

    assert run.progress.epochs_completed == 4


def test_the_reason_names_the_values_and_who_asked() -> None:
    outcome = script(EarlyStopping(patience=1, min_delta=0.01), losses(0.4, 0.395)).outcome

    assert outcome is not None
    assert (outcome.status, outcome.asked_by) == ("stopped", "early_stopping")
    assert outcome.reason == (
        "val/loss has not improved by more than 0.01 in 1 evaluation: "
        "now 0.395, best 0.395 at step 8"
    )


def test_patience_counts_evaluations_and_not_epochs() -> None:
    def story(run: ScriptedRun) -> None:
        for loss in (0.5, 0.6, 0.7, 0.8):
            run.tell_step()
            run.tell_evaluation({"val/loss": loss})

    run = script(EarlyStopping(patience=2), story)

    assert run.progress.steps_completed == 3


def test_a_metric_of_training_can_be_watched() -> None:
    run = script(EarlyStopping("train/loss", patience=1), [{"train/loss": 0.5}] * 5)

    assert run.progress.epochs_completed == 2


def test_other_metrics_are_not_counted() -> None:
    run = script(EarlyStopping(patience=1), [{"val/accuracy": 0.1}] * 5)

    assert run.progress.epochs_completed == 5


def test_nan_stops_at_once_and_is_named() -> None:
    outcome = script(EarlyStopping(), losses(0.5, float("nan"), 0.4)).outcome

    assert outcome is not None
    assert outcome.reason == "val/loss is nan"


def test_a_baseline_that_was_never_beaten_is_named() -> None:
    outcome = script(EarlyStopping(patience=2, baseline=0.1), losses(0.5, 0.4)).outcome

    assert outcome is not None
    assert outcome.reason.endswith("never better than the baseline 0.1")


def test_a_second_fit_starts_anew() -> None:
    stopping = EarlyStopping(patience=1)
    script(stopping, losses(0.1, 0.2))

    assert script(stopping, losses(0.9, 0.8)).progress.epochs_completed == 2


class WeightsAreTheNumberOfTheEpoch(Callback):
    """Makes every epoch's weights recognisable, and worse after the second."""

    runs_before = (EarlyStopping,)

    def on_evaluation_start(self, run: Run, evaluation: object) -> None:
        epoch = float(run.progress.epochs_completed)
        for parameter in run.model.parameters():
            parameter.fill_(epoch)


def fit(stopping: EarlyStopping, epochs: int) -> torch.Tensor:
    task = tiny_regression()
    goes_wrong = lambda prediction, target: prediction.mean()  # noqa: E731
    trainer = task.trainer(
        callbacks=[WeightsAreTheNumberOfTheEpoch(), stopping], metrics={"score": goes_wrong}
    )
    trainer.fit(task.train, task.validation, epochs=epochs)
    return task.weights


def test_the_best_weights_come_back_when_asked_for() -> None:
    weights = fit(EarlyStopping("val/loss", patience=2, restore_best=True), epochs=9)

    assert weights.unique().numel() == 1
    assert weights[0] < 9


def test_without_it_the_newest_weights_stay() -> None:
    assert fit(EarlyStopping("val/loss", patience=2), epochs=3).unique().tolist() == [3.0]


def test_best_weights_come_back_after_a_completed_run_too() -> None:
    stopping = EarlyStopping("val/loss", patience=9, restore_best=True)

    weights = fit(stopping, epochs=4)

    assert weights.unique().tolist() == [float(stopping._best_step / 3)]


def test_an_interrupted_run_keeps_its_newest_weights() -> None:
    task = tiny_regression()
    stopping = EarlyStopping(restore_best=True)

    class Interruption(Callback):
        def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
            stopping._weights["model"] = {
                name: tensor + 1.0 for name, tensor in run.model.state_dict().items()
            }
            run.stop("Ctrl-C", asked_by="signal", signal=2)

    other = tiny_regression()
    other.trainer().fit(other.train, other.validation, epochs=1)

    with pytest.raises(KeyboardInterrupt):
        trainer = task.trainer(callbacks=[stopping, Interruption()])
        trainer.fit(task.train, task.validation, epochs=5)

    assert task.weights.equal(other.weights)


def test_state_goes_on_in_another_instance() -> None:
    first = EarlyStopping(patience=3)
    script(first, losses(0.5, 0.6))
    state = first.state_dict()

    class Resume(Callback):
        def on_setup_start(self, run: Run) -> None:
            second.load_state_dict(state)

    second = EarlyStopping(patience=3)
    run = script([second, Resume()], losses(0.6, 0.6, 0.6))

    assert run.progress.epochs_completed == 2


@pytest.mark.parametrize("now", [("val/accuracy", "min"), ("val/loss", "max")])
def test_the_best_of_another_metric_or_direction_is_not_held_against_this_one(now: Any) -> None:
    first = EarlyStopping("val/loss")
    script(first, losses(0.5, 0.4))
    second = EarlyStopping(now[0], mode=now[1])
    second.load_state_dict(first.state_dict())

    assert first.best == 0.4
    assert second.best is None


def test_a_checkpoint_that_does_not_say_its_metric_is_taken() -> None:
    first = EarlyStopping("val/loss")
    script(first, losses(0.5, 0.4))
    state = first.state_dict()
    del state["monitor"], state["mode"]
    second = EarlyStopping("val/loss")
    second.load_state_dict(state)

    assert second.best == 0.4


def test_a_monitor_that_nothing_logs_is_refused_before_the_first_step() -> None:
    task = tiny_regression()

    with pytest.raises(MonitorError, match="val/loss"):
        task.trainer(callbacks=[EarlyStopping("val/los")]).fit(
            task.train, task.validation, epochs=1
        )


@pytest.mark.parametrize("patience", [0, -1, 1.5, True])
def test_patience_is_a_number_of_evaluations(patience: int) -> None:
    with pytest.raises(ConfigurationError, match="patience"):
        EarlyStopping(patience=patience)


def test_a_negative_min_delta_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigurationError, match=r"min_delta=0\.1; which way"):
        EarlyStopping(min_delta=-0.1)


def test_a_direction_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'min' or 'max'"):
        EarlyStopping(mode="smaller")  # type: ignore[arg-type]


def test_a_mean_within_an_epoch_is_refused_with_the_mean_of_the_epoch() -> None:
    task = tiny_regression()
    trainer = task.trainer(callbacks=[EarlyStopping("train_recent/loss")])
    with pytest.raises(MonitorError, match="watch `train/loss`"):
        trainer.fit(task.train, epochs=1)
