"""Tokens of a run: counted as its steps say, an axis of records, and what schedules count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from trackside import Output, Settings, Trainer, UsageError
from trackside.callbacks import (
    EMA,
    Checkpoint,
    JSONLinesLogger,
    ParameterSchedule,
    StopAt,
    Unfreeze,
)
from trackside.errors import ScheduleError
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.periodic import on
from trackside.run import Run
from trackside.testing import tiny_regression


class OfTokens(Trainer):
    """Each sample has as many tokens as its batch has samples."""

    said: Any = staticmethod(lambda n: n * n)

    def training_step(self, run: Run, batch: Any) -> Output:
        output = super().training_step(run, batch)
        assert isinstance(output, Output)
        return output._replace(tokens=self.said(len(batch[0])))


def trainer(**options: Any) -> OfTokens:
    task = tiny_regression()
    own = {"loss": task.loss, "optimizer": task.optimizer, "defaults": False, "seed": 0}
    return OfTokens(task.model, **{**own, **options})


@pytest.mark.parametrize("said", [lambda n: n * n, lambda n: torch.tensor([n * n])])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_they_are_counted_as_the_steps_say(said: Any, accumulate: int) -> None:
    own = trainer(accumulate=accumulate)
    own.said = said

    result = own.fit(tiny_regression().train, epochs=2)

    assert result.history[-1].tokens == 2 * (16 + 16 + 4)


def test_they_are_an_axis_of_records_only_where_they_are_counted() -> None:
    counted = trainer().fit(tiny_regression().train, epochs=2).history
    task = tiny_regression()
    uncounted = task.trainer().fit(task.train, epochs=2).history

    assert [tokens for tokens, _ in counted.points("train/loss", "tokens")] == [36, 72]
    assert list(counted.rows()[0]) == [
        "step",
        "epoch",
        "samples",
        "tokens",
        "seconds",
        "train/loss",
    ]
    assert "tokens" not in uncounted.axes()
    assert "tokens" not in uncounted.rows()[0]


def test_their_column_is_made_once_for_all_who_read_it() -> None:
    history = trainer().fit(tiny_regression().train, epochs=2).history

    assert history.axes()["tokens"] is history.axes()["tokens"]
    history.append(replace(history[-1], tokens=None))
    assert str(history.axes()["tokens"]) == "[36.0, 72.0, nan]"


def test_a_schedule_in_tokens_is_due_when_they_are_crossed(tmp_path: Path) -> None:
    due: list[int] = []

    @on(Callback.on_step_end, every="30 tokens")
    def note(run: Run) -> None:
        due.append(run.progress.steps_completed)

    trainer(callbacks=[note]).fit(tiny_regression().train, epochs=2)

    # Shuffled batches of 4, 4 and 2 samples: 16, 32, 36; 52, 68, 72 tokens.
    assert due == [2, 5]


def test_a_resumed_run_goes_on_with_its_tokens(tmp_path: Path) -> None:
    train = tiny_regression().train
    settings = Settings(directory=tmp_path)
    first = trainer(callbacks=[Checkpoint("1 step"), JSONLinesLogger()], settings=settings)
    first.fit(train, steps=4)
    again = trainer(callbacks=[Checkpoint("1 step"), JSONLinesLogger()], settings=settings)
    result = again.fit(train, epochs=2, resume="auto")

    assert result.history[-1].tokens == 72
    assert '"tokens":72' in (tmp_path / "history.jsonl").read_text().replace(" ", "")


@pytest.mark.parametrize("said", [-1, 1.5, torch.tensor(1.5), torch.tensor([1, 2]), "many"])
def test_what_is_no_number_of_tokens_is_refused(said: Any) -> None:
    own = trainer()
    own.said = lambda n: said

    with pytest.raises(UsageError, match="the step returned tokens="):
        own.fit(tiny_regression().train, epochs=1)


@pytest.mark.parametrize(
    "counts",
    [
        lambda: Checkpoint("10 tokens"),
        lambda: Checkpoint("2 steps after 10 tokens"),
        lambda: StopAt(tokens=10),
        lambda: EMA(start="10 tokens"),
        lambda: Unfreeze({"*bias": "10 tokens"}),
        lambda: ParameterSchedule("optimizer.lr", "linear", 0.1, 0.0, length="10 tokens"),
    ],
    ids=["period", "warm-up", "limit", "start", "groups", "curve"],
)
def test_tokens_that_no_step_says_are_refused_wherever_they_are_counted(counts: Any) -> None:
    task = tiny_regression()
    trainer = task.trainer(callbacks=[counts()])

    with pytest.raises(ScheduleError, match="no step says how many it has"):
        trainer.fit(task.train, steps=3)


def test_a_run_stops_at_its_tokens() -> None:
    outcome = trainer(callbacks=[StopAt(tokens=30)]).fit(tiny_regression().train, epochs=2).outcome

    assert (outcome.step, outcome.reason) == (2, "reached tokens 30")  # 16, 32
