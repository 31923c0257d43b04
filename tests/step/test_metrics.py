from __future__ import annotations

from typing import Any

import pytest
import torch
from torchmetrics import MeanMetric

from trackside import Callback, ConfigurationError, Evaluation, Run, UsageError
from trackside.step.metrics import MetricLog, merged
from trackside.testing import tiny_regression

CPU = torch.device("cpu")


def test_the_logs_of_several_ranks_go_on_as_one() -> None:
    ranks = [MetricLog() for _ in range(3)]
    for number, log in enumerate(ranks[:2]):
        log.add("train/loss", float(number), 2.0)
        log.recent()
        log.add("train/loss", torch.tensor(10.0 + number), 1.0)
    ranks[1].add("only/there", 5.0, 1.0)

    one = MetricLog()
    one.load_state_dict(merged([log.state_dict() for log in ranks]), CPU)

    assert one.recent() == {"train_recent/loss": pytest.approx(10.5), "only/there": 5.0}
    assert one.epoch() == {"train/loss": pytest.approx((0 * 2 + 1 * 2 + 10 + 11) / 6)}


def test_nothing_merged_is_an_empty_log() -> None:
    assert merged([]) == {}


@pytest.mark.parametrize(
    "name", ["loss", "train/loss", "val/loss", "val/exact", "train/skipped_steps", "train_recent/x"]
)
def test_a_name_that_the_loop_records_itself_is_refused(name: str) -> None:
    def log(self: Any, run: Run, batch: Any, output: Any) -> None:
        run.log(name, 1.0)

    task = tiny_regression()
    logging = type("Logging", (Callback,), {"on_batch_end": log})()
    metrics = {"exact": lambda prediction, target: (prediction == target).float().mean()}
    trainer = task.trainer(callbacks=[logging], metrics=metrics)
    with pytest.raises(UsageError, match="the loop records it itself") as info:
        trainer.fit(task.train, task.validation, epochs=1)
    assert info.value.option == ("train/loss" if name == "loss" else name)


def test_a_metric_of_evaluations_may_be_logged_in_training() -> None:
    class Training(Callback[Run]):
        def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
            run.log("train/exact", 1.0)

    task = tiny_regression()
    metrics = {"exact": lambda prediction, target: (prediction == target).float().mean()}
    trainer = task.trainer(callbacks=[Training()], metrics=metrics)
    result = trainer.fit(task.train, task.validation, epochs=1)
    assert result.history.values("train/exact") == [1.0]


def test_what_is_logged_or_put_in_at_the_end_of_an_evaluation_is_recorded_with_it() -> None:
    class Streak(Callback[Run]):
        def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
            run.log("streak", 3.0)
            evaluation.metrics["val/twice"] = 2 * evaluation.metrics["val/loss"]

    task = tiny_regression()
    result = task.trainer(callbacks=[Streak()]).fit(task.train, task.validation, epochs=1)
    first, late = [one for one in result.history if any(n.startswith("val/") for n in one.values)]
    assert late.values == {"val/streak": 3.0, "val/twice": 2 * first.values["val/loss"]}
    assert (late.step, late.epoch) == (first.step, first.epoch)


def test_evaluate_returns_what_is_logged_at_its_end() -> None:
    class Late(Callback[Run]):
        def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
            run.log("late", 1.0)

    task = tiny_regression()
    assert task.trainer(callbacks=[Late()]).evaluate(task.validation)["test/late"] == 1.0


def test_a_tracker_of_metrics_is_refused_with_the_history_in_its_place() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    tracked = torchmetrics.MetricTracker(torchmetrics.MeanSquaredError())
    with pytest.raises(ConfigurationError, match=r"(?s)'t' keeps .*history\.best.*that it wraps"):
        tiny_regression().trainer(metrics={"t": tracked})


@pytest.mark.parametrize("metric", [lambda prediction, target: torch.ones(()), MeanMetric()])
def test_a_metric_can_not_take_the_name_of_the_loss(metric: Any) -> None:
    with pytest.raises(ConfigurationError, match="can't be called 'loss'") as caught:
        tiny_regression().trainer(metrics={"loss": metric})

    assert caught.value.option == "metrics"


@pytest.mark.parametrize("value", [None, "0.5", {"a": 1}])
def test_a_metric_that_is_no_number_is_refused_by_its_name(value: Any) -> None:
    task = tiny_regression()
    trainer = task.trainer(metrics={"own": lambda prediction, target: value})

    with pytest.raises(UsageError, match="what is logged as 'val/own' isn't a number"):
        trainer.fit(task.train, task.validation, epochs=1)
