from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from trackside.callbacks import TerminateOnNonFinite
from trackside.callbacks.reporting.online_loss import OnlineLoss
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.testing import tiny_regression
from trackside.trainer.settings import Settings


class Losses(Callback):
    def __init__(self) -> None:
        self.weighted: list[tuple[float, float]] = []

    def on_batch_end(self, run: Run, batch: object, output: object) -> None:
        self.weighted.append((output.loss.item(), run.batch_samples))  # type: ignore[attr-defined]


def mean(pairs: list[tuple[float, float]]) -> float:
    return sum(v * w for v, w in pairs) / sum(w for _, w in pairs)


def test_the_mean_is_weighted_by_samples_and_over_its_own_interval() -> None:
    task, seen = tiny_regression(), Losses()
    trainer = task.trainer(callbacks=[OnlineLoss("3 steps"), seen])

    history = trainer.fit(task.train, epochs=2).history

    expected = [mean(seen.weighted[:3]), mean(seen.weighted[3:])]
    assert history.values("online/loss") == pytest.approx(expected)


def test_a_broken_interval_goes_on_bitwise(tmp_path: object) -> None:
    whole, first, second = (OnlineLoss("5 steps") for _ in range(3))
    run = Run("fit")
    run.device = torch.device("cpu")
    run.batch_samples = 4.0
    losses = [torch.rand((), generator=torch.Generator().manual_seed(n)) for n in range(4)]
    for one in (whole, first, second):
        one.on_attach(run)
    for loss in losses:
        whole.on_batch_end(run, None, loss)
    for loss in losses[:2]:
        first.on_batch_end(run, None, loss)
    second.load_state_dict(first.state_dict())
    second.on_fit_start(run)
    for loss in losses[2:]:
        second.on_batch_end(run, None, loss)

    for one in (whole, second):
        one._mean.fold()
    assert whole._mean.recent is not None
    assert second._mean.recent == whole._mean.recent
    assert second._weight == whole._weight


def test_training_has_the_same_bits_with_it() -> None:
    with_it, without = tiny_regression(), tiny_regression()
    settings = Settings(log_every="1 step")

    with_it.trainer(callbacks=[OnlineLoss("2 steps")], settings=settings).fit(
        with_it.train, epochs=2
    )
    without.trainer(settings=settings).fit(without.train, epochs=2)

    assert with_it.weights.equal(without.weights)


def test_a_step_without_its_update_leaves_no_nan() -> None:
    task = tiny_regression()
    data: Any = task.train.dataset
    inputs, _ = data.tensors
    inputs[0] = math.nan
    trainer = task.trainer(callbacks=[OnlineLoss("1 epoch"), TerminateOnNonFinite("skip")])

    history = trainer.fit(task.train, epochs=1).history

    assert len(history.values("train/skipped_steps")) == 1
    assert history.values("online/loss") == pytest.approx(history.values("train/loss"))
    assert all(map(math.isfinite, history.values("online/loss")))
