"""Callbacks of Trackside as guests in trainers that come from packages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from trackside import Callback, UsageError, callbacks
from trackside.callbacks import EMA, Checkpoint, EarlyStopping, TerminateOnNonFinite

# Warnings of the packages are theirs.
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

HOSTS = ("lightning", "transformers", "keras", "ignite")
FOLDER = Path("run")


class Case(NamedTuple):
    """A callback, and what shows that it did its work."""

    make: Callable[[], Any]
    shown: Callable[[Any, Any, str], bool]
    not_in: tuple[str, ...] = ()
    """Trainers that can't give it what it needs."""


def writes(name: str) -> Callable[[Any, Any, str], bool]:
    return lambda run, callback, out: any(FOLDER.rglob(name))


def records(name: str) -> Callable[[Any, Any, str], bool]:
    return lambda run, callback, out: name in run.history.names


def says(text: str) -> Callable[[Any, Any, str], bool]:
    return lambda run, callback, out: text in out


def stops(who: str) -> Callable[[Any, Any, str], bool]:
    return lambda run, callback, out: run.outcome.asked_by == who


CASES: dict[str, Case] = {
    "BestCheckpoint": Case(lambda: callbacks.BestCheckpoint("val/loss"), writes("*.safetensors")),
    "BestMetric": Case(
        lambda: callbacks.BestMetric("val/loss", ["train/loss"]), records("best/train/loss")
    ),
    "CSVLogger": Case(callbacks.CSVLogger, writes("history.csv")),
    "DatasetStats": Case(callbacks.DatasetStats, says("data:")),
    "DeviceStats": Case(callbacks.DeviceStats, records("device/cpu_percent")),
    "EMA": Case(lambda: EMA(0.9, evaluate=False), lambda run, callback, out: callback.updates > 0),
    "EarlyStopping": Case(
        lambda: EarlyStopping("val/loss", patience=1, min_delta=100.0), stops("early_stopping")
    ),
    "EpochTable": Case(callbacks.EpochTable, says("val/loss")),
    "GradientNorm": Case(callbacks.GradientNorm, records("grad/norm"), ("keras",)),
    "JSONLinesLogger": Case(callbacks.JSONLinesLogger, writes("history.jsonl")),
    "LearningRate": Case(callbacks.LearningRate, records("lr/0"), ("keras",)),
    "ModelSummary": Case(callbacks.ModelSummary, says("parameters")),
    "ParameterCount": Case(callbacks.ParameterCount, records("parameters/total")),
    "PeakMemory": Case(callbacks.PeakMemory, records("memory/host_peak_bytes")),
    "PlotHistory": Case(callbacks.PlotHistory, writes("history.png")),
    "PrintMetrics": Case(callbacks.PrintMetrics, says("train")),
    "Provenance": Case(callbacks.Provenance, writes("outcome.json")),
    "Report": Case(callbacks.Report, writes("report.html")),
    "SaveWeights": Case(callbacks.SaveWeights, writes("weights.safetensors")),
    "StopAt": Case(lambda: callbacks.StopAt(seconds=1e-6), stops("stop_at")),
    "Throughput": Case(callbacks.Throughput, records("throughput/steps_per_second")),
    "Timer": Case(callbacks.Timer, records("time/step_seconds")),
    "TrainTime": Case(callbacks.TrainTime, records("train_time/total_seconds")),
    "TrainerSummary": Case(callbacks.TrainerSummary, says("at step")),
    "Watchdog": Case(callbacks.Watchdog, lambda run, callback, out: run.outcome is not None),
}


class Closings(Callback[Any]):
    """What became of its run."""

    def __init__(self) -> None:
        self.outcomes: list[Any] = []
        self.evaluations: list[float] = []
        self.epochs = 0

    def on_evaluation_end(self, run: Any, evaluation: Any) -> None:
        self.evaluations.append(evaluation.metrics["val/loss"])

    def on_epoch_end(self, run: Any, metrics: dict[str, float]) -> None:
        self.epochs += 1
        assert {"train/loss", "val/loss"} <= metrics.keys()

    def on_close(self, run: Any, outcome: Any) -> None:
        self.outcomes.append(outcome)


class Fails(Callback[Any]):
    """Fails in the second epoch."""

    def on_step_end(self, run: Any) -> None:
        if run.progress.epochs_completed == 1:
            raise ZeroDivisionError("mine")


def train(host: str, *members: Any, **options: Any) -> Any:
    from tests.guests.trainers import TRAINERS

    return TRAINERS[host](*members, **options)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("host", HOSTS)
def test_a_guest_does_its_work(host: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[name]
    if host in case.not_in:
        pytest.skip(f"{host} has no optimizer of torch")
    callback = case.make()

    guest = train(host, callback)

    assert case.shown(guest.run, callback, capsys.readouterr().out)
    assert guest.run.outcome is not None


@pytest.mark.parametrize("host", HOSTS)
def test_epochs_and_evaluations_are_those_of_the_trainer(host: str) -> None:
    closings = Closings()

    guest = train(host, closings, scope=False)

    assert closings.epochs == len(closings.evaluations) == 3
    assert closings.evaluations[-1] < closings.evaluations[0]
    assert [one.status.value for one in closings.outcomes] == ["completed"]
    assert guest.run.progress.epochs_completed == 3
    assert not guest.is_open


@pytest.mark.parametrize("host", ["lightning", "transformers", "ignite"])
def test_the_guard_stops_at_a_loss_that_is_not_finite(host: str) -> None:
    guest = train(host, TerminateOnNonFinite(gradients=True), factor=float("nan"))

    assert guest.run.outcome.status.value == "diverged"
    assert guest.run.progress.epochs_completed == 0


@pytest.mark.parametrize("host", ["transformers", "keras", "ignite"])
def test_a_guard_that_could_not_see_the_loss_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="on_backward_start"):
        train(host, TerminateOnNonFinite())


@pytest.mark.parametrize("scope", [True, False])
@pytest.mark.parametrize("host", HOSTS)
def test_an_error_closes_all_as_far_as_the_trainer_says_it(host: str, scope: bool) -> None:
    closings = Closings()

    with pytest.raises(ZeroDivisionError):
        train(host, closings, Fails(), scope=scope)

    says_nothing = host in ("transformers", "keras") and not scope
    expected = [] if says_nothing else ["failed"]
    assert [one.status.value for one in closings.outcomes] == expected


@pytest.mark.parametrize("host", HOSTS)
def test_a_checkpoint_of_the_run_is_refused_with_the_way_to_have_it(host: str) -> None:
    with pytest.raises(UsageError, match=r"trackside\.resume"):
        train(host, Checkpoint())


def test_averages_stand_in_the_model_while_lightning_validates() -> None:
    values = Closings()
    with_averages = Closings()

    train("lightning", values)
    train("lightning", EMA(0.99, warm_up=False), with_averages)

    assert with_averages.evaluations[0] > values.evaluations[0]


def test_averages_that_transformers_would_not_evaluate_with_are_refused() -> None:
    with pytest.raises(UsageError, match="evaluate=False"):
        train("transformers", EMA(0.9))
