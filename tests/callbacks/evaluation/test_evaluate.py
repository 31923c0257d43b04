from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, SubsetRandomSampler
from torchmetrics.classification import MulticlassAccuracy

from trackside.callbacks.averaging.ema import EMA
from trackside.callbacks.averaging.swa import SWA
from trackside.callbacks.evaluation import time_share
from trackside.callbacks.evaluation.evaluate import Evaluate
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.callbacks.scheduling.batch_limit import BatchLimit
from trackside.callbacks.stopping.early_stopping import EarlyStopping
from trackside.errors import ConfigurationError, UnknownDataError, UsageError
from trackside.lifecycle.hooks import Callback
from trackside.run import Evaluation, Run
from trackside.step.accuracy import accuracy
from trackside.testing import SpyCallback, tiny_classification, tiny_regression
from trackside.trainer.settings import Result, Settings


def fit(*callbacks: Callback[Any], epochs: int = 2, **options: Any) -> Result:
    task = tiny_classification()
    trainer = task.trainer(callbacks=callbacks, seed=0)
    return trainer.fit(task.train, task.validation, epochs=epochs, **options)


class Sizes(Callback):
    """Samples of each evaluation batch, by name of the evaluation."""

    def __init__(self) -> None:
        self.seen: dict[str, list[int]] = {}

    def on_evaluation_batch_end(
        self, run: Run, evaluation: Evaluation, batch: Any, output: Any
    ) -> None:
        self.seen.setdefault(evaluation.name, []).append(len(batch[0]))


def test_a_named_data_set_is_evaluated_on_its_own_schedule() -> None:
    task = tiny_regression()
    result = task.trainer(callbacks=[Evaluate("extra", every="2 epochs")]).fit(
        task.train, task.validation, epochs=5, data={"extra": task.validation}
    )

    assert [epoch for epoch, _ in result.history.points("extra/loss", "epoch")] == [2, 4]
    assert result.history.values("extra/loss") == result.history.values("val/loss")[1::2]


@pytest.mark.parametrize("time_percent", [None, 90.0])
@pytest.mark.parametrize(
    ("every", "evaluate_every", "steps"),
    [
        ("1 epoch", "1 epoch", [2, 4, 6, 8]),
        ("2 steps", "2 steps", [2, 4, 6, 8]),
        ("1 epoch", "2 steps", [2, 4, 6, 8]),
        ("2 steps", "1 epoch", [2, 4, 6, 8]),
        ("1 step", "4 steps", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("4 steps", "1 step", [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_beside_the_loops_own_evaluation_of_that_name_each_step_is_evaluated_once(
    every: str, evaluate_every: str, steps: list[int], time_percent: float | None
) -> None:
    task = tiny_regression(samples=8)
    trainer = task.trainer(callbacks=[Evaluate("val", every, time_percent=time_percent)])
    result = trainer.fit(task.train, task.validation, epochs=4, evaluate_every=evaluate_every)
    found = [step for step, _ in result.history.points("val/loss")]

    if time_percent is None:
        assert found == steps
    else:  # some may not fit into the time
        assert found == sorted(set(found) & set(steps))


def test_within_a_share_of_the_time_it_goes_on_after_a_step_that_the_loop_has_evaluated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time_share.TimeShare, "fits", lambda self, seconds: True)
    task = tiny_regression(samples=8)
    trainer = task.trainer(callbacks=[Evaluate("val", "1 epoch", time_percent=50.0)])
    result = trainer.fit(task.train, task.validation, epochs=4, evaluate_every="4 steps")

    assert [step for step, _ in result.history.points("val/loss")] == [2, 4, 6, 8]


def test_a_patience_counts_an_evaluation_that_two_ask_for_once() -> None:
    task = tiny_regression(samples=8)
    stopping = EarlyStopping("val/loss", patience=2, min_delta=100.0)
    trainer = task.trainer(callbacks=[Evaluate("val"), stopping])
    result = trainer.fit(task.train, task.validation, epochs=9)

    assert result.outcome.step == 6  # the first counts as the best, two more don't improve on it


def test_data_that_is_not_there_is_refused_before_the_first_step() -> None:
    task = tiny_regression()
    with pytest.raises(UnknownDataError, match="'test'"):
        task.trainer(callbacks=[Evaluate()]).fit(task.train, task.validation, epochs=1)


def test_a_name_of_its_own_leaves_the_other_evaluations_of_the_data_alone() -> None:
    sizes = Sizes()
    own = Evaluate("val", record_as="val_small", batch_size=3)
    history = fit(own, sizes, epochs=1).history

    assert sizes.seen == {"val": [8, 2], "val_small": [3, 3, 3, 1]}
    assert history.latest("val_small/loss") == pytest.approx(history.latest("val/loss"))
    assert history.latest("val_small/accuracy") == pytest.approx(history.latest("val/accuracy"))


def test_a_data_set_is_cut_into_its_own_batches_too() -> None:
    sizes = Sizes()
    data = {"extra": tiny_classification().validation.dataset}
    fit(Evaluate("extra", batch_size=4), sizes, epochs=1, data=data, batch_size=5)

    assert sizes.seen["extra"] == [4, 4, 2]


def test_its_values_are_among_those_of_the_epoch() -> None:
    epochs = SpyCallback("on_epoch_end", lambda run, metrics: seen.append(dict(metrics)), when=None)
    seen: list[dict[str, float]] = []

    history = fit(Evaluate("val", "2 epochs", record_as="own"), epochs, epochs=4).history

    assert ["own/loss" in metrics for metrics in seen] == [False, True, False, True]
    assert [metrics["own/loss"] for metrics in seen[1::2]] == history.values("own/loss")


def test_a_schedule_in_steps_does_not_wait_for_the_epoch() -> None:
    points = fit(Evaluate("val", "2 steps", record_as="own")).history.points("own/loss")

    assert [step for step, _ in points] == [2, 4, 6]


def test_a_sampler_chooses_the_samples() -> None:
    sizes = Sizes()
    fit(
        Evaluate("val", record_as="first", sampler=[0, 1, 2]),
        Evaluate("val", record_as="some", sampler=lambda data: SubsetRandomSampler(range(5))),
        sizes,
        epochs=1,
    )
    assert (sum(sizes.seen["first"]), sum(sizes.seen["some"])) == (3, 5)


def test_the_training_data_is_evaluated_under_a_name_of_its_own() -> None:
    sizes = Sizes()
    watcher = EarlyStopping("train_again/loss", patience=1000)
    result = fit(Evaluate("train", record_as="train_again"), sizes, watcher)

    assert sizes.seen["train_again"] == [8, 8, 4] * 2
    assert len(result.history.values("train_again/accuracy")) == 2


def test_training_is_what_it_was_without_it() -> None:
    def weights(*callbacks: Callback[Any]) -> torch.Tensor:
        task = tiny_classification()
        trainer = task.trainer(callbacks=callbacks, seed=0)
        trainer.fit(task.train, task.validation, epochs=2)
        return task.weights

    random = Evaluate(
        "train", "1 step", record_as="again", sampler=lambda data: SubsetRandomSampler(range(9))
    )
    assert torch.equal(weights(), weights(random))


def test_metrics_of_its_own_stand_beside_those_of_the_trainer() -> None:
    def second(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return accuracy(prediction, target) * 2

    top = MulticlassAccuracy(3, average="micro")
    own = Evaluate("val", record_as="more", metrics={"second": second, "top": top})
    history = fit(own).history

    for right, twice, mine in zip(
        history.values("val/accuracy"),
        history.values("more/second"),
        history.values("more/top"),
        strict=True,
    ):
        assert twice == pytest.approx(2 * right)
        assert mine == pytest.approx(right)
    assert history.values("val/second") == []


def test_metrics_without_a_prediction_are_refused() -> None:
    own = Evaluate("val", metrics={"second": accuracy})
    with pytest.raises(UsageError, match="returned no prediction"):
        own.on_evaluation_batch_end(Run("fit"), Evaluation("val"), None, {"loss": torch.zeros(())})


@pytest.mark.parametrize("average", [EMA(0.5, evaluate=False), SWA("1 epoch", evaluate=False)])
def test_averages_are_evaluated_beside_the_weights(average: Callback[Any]) -> None:
    name = type(average).__name__.lower()
    history = fit(average, Evaluate("val", record_as="averaged", average=name)).history
    reference = fit(type(average)(**_options(average))).history

    assert history.values("val/loss") == fit().history.values("val/loss")
    assert history.values("averaged/loss") == reference.values("val/loss")
    assert history.values("averaged/loss") != history.values("val/loss")


def _options(average: Callback[Any]) -> dict[str, Any]:
    return {"decay": 0.5} if isinstance(average, EMA) else {"start": "1 epoch"}


def test_the_weights_as_trained_are_evaluated_where_others_see_averages() -> None:
    history = fit(EMA(0.5), Evaluate("val", record_as="trained", average=False)).history

    assert history.values("trained/loss") == fit().history.values("val/loss")
    assert history.values("val/loss") != history.values("trained/loss")


def test_one_average_does_not_hide_another() -> None:
    both = [EMA(0.5), SWA("1 epoch"), Evaluate("val", record_as="swa_only", average="swa")]
    history = fit(*both).history

    assert history.values("swa_only/loss") == fit(SWA("1 epoch")).history.values("val/loss")


def test_a_batch_limit_holds_for_its_batches_too() -> None:
    sizes = Sizes()
    limit = BatchLimit(evaluation={"val_small": 2})
    fit(limit, Evaluate("val", record_as="val_small", batch_size=3), sizes, epochs=1)

    assert sizes.seen == {"val": [8, 2], "val_small": [3, 3]}


def test_a_resumed_run_records_the_same(tmp_path: Path) -> None:
    def run(folder: str, resume: str | None = None, power: bool = False) -> Result | None:
        task = tiny_classification()
        callbacks: list[Callback[Any]] = [
            Evaluate("val", "2 steps", record_as="own", batch_size=3, average="ema"),
            EMA(0.5, evaluate=False),
            Checkpoint("1 step"),
        ]
        if power:
            callbacks.append(SpyCallback("on_step_start", KeyboardInterrupt, when=5, counts=()))
        settings = Settings(directory=tmp_path / folder)
        trainer = task.trainer(callbacks=callbacks, seed=0, settings=settings)
        return trainer.fit(task.train, task.validation, epochs=3, resume=resume)

    unbroken = run("a")
    with pytest.raises(KeyboardInterrupt):
        run("b", power=True)
    resumed = run("b", resume="auto")

    assert unbroken is not None
    assert resumed is not None
    assert resumed.history.points("own/loss") == unbroken.history.points("own/loss")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"average": True}, "whose averages"),
        ({"data": "train"}, "can't be recorded as 'train'"),
        ({"record_as": "a/b"}, "can't be recorded as 'a/b'"),
        ({"metrics": {"x": 3}}, "metrics={'x': 3} can't be used"),
    ],
)
def test_a_wrong_option_is_refused_when_it_is_made(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Evaluate(**options)


@pytest.mark.parametrize(
    ("callbacks", "said"),
    [
        ([Evaluate("val", average="emma"), EMA()], "did you mean `ema`"),
        ([Evaluate("val", batch_size=2), Evaluate("val", "2 epochs")], "two callbacks"),
        ([Evaluate("list", batch_size=2)], "comes in batches"),
        ([Evaluate("stream", sampler=[1])], "they have no indices"),
    ],
)
def test_what_can_not_be_evaluated_is_refused_before_the_first_step(
    callbacks: list[Callback[Any]], said: str
) -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([])

    batch = (torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64))
    data = {"list": [batch], "stream": DataLoader(Stream(), batch_size=2)}
    with pytest.raises((UsageError, ConfigurationError), match=said):
        fit(*callbacks, data=data)


# --- within a share of the time ------------------------------------------------------------------


class Clock:
    """Stands still but for evaluations, each of which takes its seconds."""

    def __init__(self, seconds: float) -> None:
        self._now = 0.0
        self._seconds = seconds

    def __call__(self) -> float:
        self._now += self._seconds
        return self._now


def shared(*callbacks: Callback[Any], seconds: float, monkeypatch: Any, **options: Any) -> Result:
    """A run whose evaluations take so long, by the clock of `time_share`."""
    monkeypatch.setattr(time_share, "perf_counter", Clock(seconds))
    task = tiny_regression()
    return task.trainer(callbacks=callbacks, seed=0).fit(
        task.train, data={"dev": task.validation}, steps=6, **options
    )


def test_evaluations_that_take_no_time_are_all_made(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Evaluate("dev", "2 steps", time_percent=5)
    history = shared(own, seconds=0.0, monkeypatch=monkeypatch).history

    assert [step for step, _ in history.points("dev/loss")] == [2, 4, 6]


def test_one_that_does_not_fit_into_the_share_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Evaluate("dev", "2 steps", time_percent=5)
    history = shared(own, seconds=1e6, monkeypatch=monkeypatch).history

    assert [step for step, _ in history.points("dev/loss")] == [2]


def test_one_that_the_schedule_asks_for_at_the_end_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Evaluate("dev", "4 steps or last", time_percent=5)
    history = shared(own, seconds=1e6, monkeypatch=monkeypatch).history

    assert [step for step, _ in history.points("dev/loss")] == [4, 6]


@pytest.mark.parametrize(
    ("every", "steps"),
    [("2 steps or last", [2, 6]), ("1 epoch or last", [3, 6]), ("2 steps or 1 epoch", [2])],
)
def test_one_at_the_end_is_made_where_the_period_ends_there_too(
    every: str, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    history = shared(Evaluate("dev", every, time_percent=5), seconds=1e6, monkeypatch=monkeypatch)

    assert [step for step, _ in history.history.points("dev/loss")] == steps


def test_the_records_have_the_steps_and_a_message_names_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "trackside"):
        shared(Evaluate("dev", "2 steps", time_percent=5), seconds=1e6, monkeypatch=monkeypatch)

    assert "dev was evaluated after steps [2]: time decided" in caplog.text


def test_a_resume_goes_on_with_the_time_that_was_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fit(steps: int, seconds: float, resume: Any = None) -> Result:
        monkeypatch.setattr(time_share, "perf_counter", Clock(seconds))
        task = tiny_regression()
        callbacks = [Evaluate("dev", "2 steps", time_percent=5), Checkpoint("3 steps")]
        trainer = task.trainer(
            callbacks=callbacks, seed=0, settings=Settings(directory=tmp_path, device="cpu")
        )
        return trainer.fit(task.train, data={"dev": task.validation}, steps=steps, resume=resume)

    fit(3, seconds=1e6)
    history = fit(6, seconds=0.0, resume="auto").history

    assert [step for step, _ in history.points("dev/loss")] == [2]


def test_a_second_fit_begins_with_its_whole_share(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Evaluate("dev", "2 steps", time_percent=5)
    shared(own, seconds=1e6, monkeypatch=monkeypatch)
    history = shared(own, seconds=1e6, monkeypatch=monkeypatch).history

    assert [step for step, _ in history.points("dev/loss")] == [2]
