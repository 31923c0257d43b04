"""A resume tells what differs from the checkpoint, and keeps the place in an epoch in samples."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from trackside import Callback, Run, Settings, Trainer
from trackside.callbacks import Checkpoint, EarlyStopping
from trackside.dialects import pytorch_accelerated
from trackside.errors import CheckpointError

SAMPLES = 40


class Numbers(Dataset[Any]):
    """Samples that are no tensors in memory."""

    def __init__(self, samples: int = SAMPLES) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> Any:
        return torch.tensor([float(index)]), torch.zeros(1)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return (Numbers()[index] for index in range(SAMPLES))


def tensors(samples: int = SAMPLES) -> TensorDataset:
    return TensorDataset(torch.arange(float(samples)).unsqueeze(1), torch.zeros(samples, 1))


class Seen(Callback[Run]):
    """Which samples were trained on, and the options of the optimizer."""

    def __init__(self) -> None:
        self.samples: list[int] = []
        self.lr = 0.0

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        self.samples += batch[0][:, 0].int().tolist()
        self.lr = run.optimizer.param_groups[0]["lr"]


LOADERS: dict[str, Callable[[int], Any]] = {
    "tensors": lambda size: DataLoader(tensors(), batch_size=size),
    "tensors, shuffled": lambda size: DataLoader(tensors(), batch_size=size, shuffle=True),
    "samples": lambda size: DataLoader(Numbers(), batch_size=size),
    "samples, shuffled": lambda size: DataLoader(Numbers(), batch_size=size, shuffle=True),
}


def train(data: Any, resume: str | None = None, **more: Any) -> Seen:
    seen = Seen()
    fit = {name: more.pop(name) for name in ("epochs", "steps", "batch_size") if name in more}
    optimizer = more.pop("optimizer", lambda p: torch.optim.SGD(p, lr=0.001))
    Trainer(
        lambda: nn.Linear(1, 1),
        loss=nn.MSELoss(),
        optimizer=optimizer,
        seed=more.pop("seed", 0),
        defaults=False,
        callbacks=[seen, Checkpoint(every="1 step", background=False), *more.pop("callbacks", ())],
        settings=Settings(directory="run"),
        **more,
    ).fit(data, **{"epochs": 1, **fit}, resume=resume)
    return seen


# --- the place within an epoch -------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("size", [4, 5, 8, 16, 64])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_with_another_batch_size_every_sample_of_the_epoch_comes_once(
    kind: str, size: int, accumulate: int
) -> None:
    first = train(LOADERS[kind](8), steps=3 - accumulate, accumulate=accumulate)
    then = train(LOADERS[kind](size), "auto", accumulate=accumulate)
    assert sorted(first.samples + then.samples) == list(range(SAMPLES))


@pytest.mark.parametrize("kind", LOADERS)
def test_a_place_inside_a_batch_is_kept_over_two_resumes(kind: str) -> None:
    parts = [train(LOADERS[kind](8), steps=3), train(LOADERS[kind](16), "auto", steps=3)]
    parts += [train(LOADERS[kind](5), "auto", steps=4), train(LOADERS[kind](16), "auto")]
    assert sorted(one for part in parts for one in part.samples) == list(range(SAMPLES))


def test_the_epoch_after_such_a_resume_is_whole() -> None:
    train(LOADERS["samples, shuffled"](8), steps=3)
    then = train(LOADERS["samples, shuffled"](16), "auto", epochs=2)
    assert sorted(then.samples[-SAMPLES:]) == list(range(SAMPLES))


def test_a_stream_goes_on_where_the_sizes_divide_its_place() -> None:
    first = train(DataLoader(Stream(), batch_size=8), steps=2)
    with pytest.warns(UserWarning, match="can't skip"):
        then = train(DataLoader(Stream(), batch_size=4), "auto")
    assert sorted(first.samples + then.samples) == list(range(SAMPLES))


def test_a_stream_that_cannot_begin_inside_a_batch_is_refused() -> None:
    train(DataLoader(Stream(), batch_size=8), steps=3)
    with pytest.raises(CheckpointError, match="sample 24 in batches of 16"):
        train(DataLoader(Stream(), batch_size=16), "auto")


# --- what is told --------------------------------------------------------------------------------


def sgd(**options: Any) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, **{"lr": 0.001, **options})


def halving(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "lr": ({"optimizer": sgd(lr=0.1)}, "goes on with lr=0.001, as it was saved, not with lr=0.1"),
    "weight_decay": ({"optimizer": sgd(weight_decay=0.5)}, "not with weight_decay=0.5"),
    "momentum": ({"optimizer": sgd(momentum=0.5)}, "not with momentum=0.5"),
    "nesterov": ({"optimizer": sgd(momentum=0.5, nesterov=True)}, "not with nesterov=True"),
    "precision": ({"precision": "bf16"}, "precision=bf16 from now on, as it is given; it was fp32"),
    "accumulate": ({"accumulate": 2}, "accumulate=2 from now on"),
    "clip": ({"clip": 1.0}, "from now on, as it is given; it was None"),
    "seed": ({"seed": 1}, "seed=1 has no effect"),
    "batch size": ({"batch_size": 4}, "batches have 4 samples from now on"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("steps", [3, 5])
def test_what_differs_is_told_with_the_side_that_wins(
    change: str, steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    more, told = CHANGES[change]
    train(tensors(), steps=steps, batch_size=8)
    with caplog.at_level(logging.WARNING, "trackside"):
        train(tensors(), "auto", epochs=2, **{"batch_size": 8, **more})
    lists = [text for text in caplog.messages if "differs from the checkpoint" in text]
    assert len(lists) == 1
    assert told in lists[0]


@pytest.mark.parametrize("scheduler", [None, halving])
def test_nothing_is_told_where_nothing_differs(
    scheduler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    train(tensors(), steps=7, epochs=2, batch_size=8, scheduler=scheduler)
    with caplog.at_level(logging.WARNING, "trackside"):
        train(tensors(), "auto", epochs=3, batch_size=8, scheduler=scheduler)
    assert not [text for text in caplog.messages if "differs" in text]


def test_a_scheduler_does_not_hide_another_learning_rate(
    caplog: pytest.LogCaptureFixture,
) -> None:
    train(tensors(), epochs=2, scheduler=halving)
    with caplog.at_level(logging.WARNING, "trackside"):
        train(tensors(), "auto", epochs=3, scheduler=halving, optimizer=sgd(lr=0.5))
    assert "goes on with lr=0.001, as it was saved, not with lr=0.5" in caplog.text


def test_what_was_dropped_is_told_at_each_resume(caplog: pytest.LogCaptureFixture) -> None:
    train(tensors(), epochs=1)
    train(tensors(), "auto", epochs=2, optimizer=sgd(lr=0.5))
    caplog.clear()
    with caplog.at_level(logging.WARNING, "trackside"):
        then = train(tensors(), "auto", epochs=3, optimizer=sgd(lr=0.5))
    assert "not with lr=0.5" in caplog.text
    assert then.lr == 0.001


@pytest.mark.parametrize("steps", [3, 5])
@pytest.mark.parametrize("data", [lambda: DataLoader(tensors(), batch_size=8), lambda: tensors(80)])
def test_other_data_is_told_and_what_becomes_of_the_epoch_under_way(
    steps: int, data: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    train(tensors(), steps=steps, batch_size=8)
    cut = {} if isinstance(data(), DataLoader) else {"batch_size": 8}
    with caplog.at_level(logging.WARNING, "trackside"):
        train(data(), "auto", epochs=2, **cut)
    assert "the training data is taken as it is given now" in caplog.text
    assert ("some samples come twice" in caplog.text) == (steps == 3)


def test_of_batches_that_were_made_before_another_number_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ready = list(DataLoader(tensors(), batch_size=8))
    train(ready, steps=len(ready))
    with caplog.at_level(logging.WARNING, "trackside"):
        train(ready[:2], "auto", epochs=2)
    told = f"is taken as it is given now (2 batches, they were {len(ready)})"
    assert told in caplog.text


# --- callbacks -----------------------------------------------------------------------------------


class Counts(pytorch_accelerated.TrainerCallback):
    """A callback of another framework, with an option, and a number that moves."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.seen = 0

    def on_train_step_start(self, trainer: Any, **kwargs: Any) -> None:
        self.seen += 1


def test_of_another_frameworks_callback_too_an_option_that_has_changed_is_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    train(tensors(), steps=2, callbacks=[Counts(1)])
    train(tensors(), "auto", steps=4, callbacks=[Counts(1)])
    assert "callback" not in caplog.text
    train(tensors(), "auto", steps=6, callbacks=[Counts(2)])
    assert "is Counts(2) from now on" in caplog.text
    assert "it was Counts(1)" in caplog.text


def test_a_callback_with_another_option_is_told_of_with_the_side_that_wins(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def stopping(patience: int) -> list[Callback[Any]]:
        return [EarlyStopping("train/loss", patience=patience)]

    train(tensors(), steps=2, callbacks=stopping(50))
    train(tensors(), "auto", steps=4, callbacks=stopping(50))
    assert "callback" not in caplog.text
    train(tensors(), "auto", steps=6, callbacks=stopping(1))
    assert (
        "the callback 'early_stopping' is EarlyStopping('train/loss', patience=1) from now on, as "
        "it is given, with the state that was saved; it was EarlyStopping('train/loss', "
        "patience=50)"
    ) in caplog.text
