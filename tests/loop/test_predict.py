"""Predictions are in the order of the data, or it is said; what was made is never lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

from tests.device import same
from trackside import Callback, ConfigurationError, DataError, Run, Trainer, UsageError
from trackside.callbacks import BatchLimit, SavePredictions

X = torch.arange(20.0).unsqueeze(1)


class Rows(Dataset[Tensor]):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Tensor:
        return X[index]


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return iter(X.flip(0))


def trainer(model: Any = None, **options: Any) -> Trainer:
    return Trainer(nn.Identity() if model is None else model, defaults=False, seed=0, **options)


# --- order ---------------------------------------------------------------------------------------

LOADERS: dict[str, tuple[Callable[[Any], Any], str | None]] = {
    "the data itself": (lambda data: data, None),
    "in order": (lambda data: DataLoader(data, 6), None),
    "in order, two workers": (lambda data: DataLoader(data, 6, num_workers=2), None),
    "whole batches": (lambda data: DataLoader(data, 5, drop_last=True), None),
    "batches of its own": (
        lambda data: DataLoader(data, batch_sampler=[[0, 1, 2], list(range(3, 20))]),
        None,
    ),
    "one by one": (lambda data: DataLoader(data, batch_size=None), None),
    "own sampler in order": (lambda data: DataLoader(data, 6, sampler=range(20)), None),
    "a subset": (lambda data: DataLoader(Subset(data, [7, 3, 5]), 2), None),
    "shuffled": (lambda data: DataLoader(data, 6, shuffle=True), "another order"),
    "backwards": (lambda data: DataLoader(data, 6, sampler=range(19, -1, -1)), "another order"),
    "some twice": (lambda data: DataLoader(data, 6, sampler=[0, 1, 1, 2]), "another order"),
    "without the first": (lambda data: DataLoader(data, 6, sampler=range(1, 20)), "another order"),
    "random batches": (
        lambda data: DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data), 6, False)),
        "another order",
    ),
    "a random subset": (
        lambda data: DataLoader(data, 6, sampler=SubsetRandomSampler(range(20))),
        "another order",
    ),
    "batches in another order": (
        lambda data: DataLoader(data, batch_sampler=[list(range(9, 20)), list(range(9))]),
        "another order",
    ),
    "dropped": (lambda data: DataLoader(data, 6, drop_last=True), "leaves out 2 of the 20"),
    "the first only": (
        lambda data: DataLoader(data, 6, sampler=SequentialSampler(range(15))),
        "leaves out 5 of the 20",
    ),
}


@pytest.mark.parametrize("kind", [lambda: TensorDataset(X, X), Rows])
@pytest.mark.parametrize("loader", LOADERS)
def test_a_loader_in_another_order_than_its_data_is_told_of(
    loader: str, kind: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    make, says = LOADERS[loader]
    trainer().predict(make(kind()))
    assert [says in record.message for record in caplog.records if says] == [True] * bool(says)
    assert says or not caplog.records


@pytest.mark.parametrize("data", [Stream(), [X[:3], X[5:9]], DataLoader(Stream(), 4)])
def test_data_without_a_sampler_is_its_own_order(
    data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    trainer().predict(data)
    assert not caplog.records


def test_a_limit_of_evaluations_is_none_of_predictions() -> None:
    limited = trainer(callbacks=[BatchLimit(evaluation=2)])
    assert len(limited.predict(Rows(), batch_size=4)) == 20


# --- shapes that differ --------------------------------------------------------------------------


class Ragged(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return {"long": x.repeat(1, len(x)), "short": x, "names": [str(row) for row in x]}


def test_predictions_of_different_shapes_are_padded_on_request() -> None:
    made = trainer(Ragged()).predict(DataLoader(Rows(), 12), pad=-1.0)
    assert made["long"].shape == (20, 12)
    assert made["long"][11].tolist() == [11.0] * 12
    assert made["long"][12].tolist() == [12.0] * 8 + [-1.0] * 4
    assert made["short"].equal(X)
    assert len(made["names"]) == 2


@pytest.mark.parametrize(
    ("model", "pad"),
    [
        (lambda x: x[0] if len(x) < 12 else x.unsqueeze(0), 0.0),
        (lambda x: x.long().repeat(1, len(x)), 0.5),
        (lambda x: [x], 0.0),
    ],
)
def test_what_cannot_be_padded_is_refused_and_kept(model: Any, pad: float) -> None:
    class Odd(Trainer):
        def predict_step(self, run: Run, batch: Any) -> Any:
            return model(batch)

    made = Odd(nn.Identity(), defaults=False)
    with pytest.raises(DataError, match="can't be padded"):
        made.predict(DataLoader(Rows(), 12), pad=pad)
    assert made.result is not None
    assert len(made.result.predictions) == 2


# --- ended early ---------------------------------------------------------------------------------


class AfterTwo(Callback[Run]):
    def __init__(self, act: Callable[[], object]) -> None:
        self.batches, self.act = 0, act

    def on_predict_batch_end(self, run: Run, batch: Any, prediction: Any) -> None:
        self.batches += 1
        if self.batches == 2:
            self.act()


def broken() -> None:
    raise RuntimeError("no more")


@pytest.mark.parametrize(
    ("act", "error", "made"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGINT), KeyboardInterrupt, 2),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), SystemExit, 2),
        (broken, RuntimeError, 1),
    ],
)
def test_a_pass_that_is_ended_keeps_what_was_made(
    act: Callable[[], object], error: type[BaseException], made: int
) -> None:
    predicting = trainer(callbacks=[AfterTwo(act)])
    with pytest.raises(error) as info:
        predicting.predict(DataLoader(Rows(), 4))
    result = predicting.result
    assert result is not None
    assert torch.cat(list(result.predictions)).equal(X[: 4 * made])
    if error is RuntimeError:
        assert any("trainer.result.predictions" in note for note in info.value.__notes__)
    else:
        assert info.value.result is result  # type: ignore[attr-defined]


# --- more than memory holds ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 20, 64])
def test_predictions_that_are_not_kept_are_written_batch_by_batch_in_order(size: int) -> None:
    save = SavePredictions("predict")
    predicting = trainer(callbacks=[save])
    assert predicting.predict(TensorDataset(X, -X), batch_size=size, keep=False) is None
    assert predicting.result is not None
    assert predicting.result.predictions == ()
    assert save.last is not None
    files = [np.load(path) for path in sorted(save.last.iterdir())]
    assert [len(file["prediction"]) for file in files[:-1]] == [size] * (len(files) - 1)
    assert np.array_equal(np.concatenate([file["prediction"] for file in files]), X.numpy())
    assert np.array_equal(np.concatenate([file["target"] for file in files]), -X.numpy())


def test_nothing_is_predicted_for_nobody() -> None:
    save = SavePredictions("val")
    with pytest.raises(UsageError, match="nobody takes the predictions"):
        trainer(callbacks=[save]).predict(Rows(), keep=False)


def test_options_of_a_prediction_have_an_effect_or_are_refused() -> None:
    save = SavePredictions("predict")
    with pytest.raises(UsageError, match=r"pad=0\.0 has no effect"):
        trainer(callbacks=[save]).predict(Rows(), keep=False, pad=0.0)
    with pytest.raises(ConfigurationError, match="has no effect"):
        SavePredictions("predict", every="2 epochs")


def test_a_step_or_a_hook_of_ones_own_takes_predictions_that_are_not_kept() -> None:
    class Writes(Trainer):
        def predict_step(self, run: Run, batch: Any) -> Any:
            seen.append(batch)

    seen: list[Tensor] = []
    Writes(nn.Identity(), defaults=False).predict(DataLoader(Rows(), 8), keep=False)
    trainer(callbacks=[AfterTwo(lambda: seen.append(X))]).predict(Rows(), batch_size=8, keep=False)
    assert same(torch.cat(seen[:-1]), X)
    assert len(seen) == 4
