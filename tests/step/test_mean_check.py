"""A metric that is a function and no mean over samples is reported, and means never are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from trackside import Trainer, accuracy
from trackside.step.mean_check import CLASSES, PAIRS, MeanCheck, NoMean

Function = Callable[[Tensor, Tensor], Tensor]


def f1(prediction: Tensor, target: Tensor) -> Tensor:
    found, real = prediction > 0, target > 0
    return 2 * (found & real).sum() / (found.sum() + real.sum()).clamp(min=1)


def r2(prediction: Tensor, target: Tensor) -> Tensor:
    return 1 - (prediction - target).pow(2).sum() / (target - target.mean()).pow(2).sum()


NO_MEANS: dict[str, Function] = {
    "f1": f1,
    "r2": r2,
    "rmse": lambda p, t: (p - t).pow(2).mean().sqrt(),
    "largest error": lambda p, t: (p - t).abs().max(),
    "errors": lambda p, t: (p - t).abs().sum(),
    "median": lambda p, t: (p - t).abs().median(),
    "pearson": lambda p, t: torch.corrcoef(torch.stack((p, t)))[0, 1],
}
MEANS: dict[str, Function] = {
    "mae": lambda p, t: (p - t).abs().mean(),
    "mse": lambda p, t: (p - t).pow(2).mean(),
    "bias": lambda p, t: (p - t).mean(),
    "accuracy": accuracy,
    "constant": lambda p, t: torch.tensor(0.3),
    "half": lambda p, t: (p - t).abs().mean().bfloat16(),
    "number": lambda p, t: float((p > 0).float().mean()),  # type: ignore[dict-item, return-value]
}


def seen(functions: dict[str, Function], sizes: list[int], seed: int = 0) -> list[NoMean]:
    check, generator = MeanCheck(), torch.Generator().manual_seed(seed)
    for size in sizes:
        p = torch.randn(size, generator=generator)
        t = (p + torch.randn(size, generator=generator) > 0).float()
        check.see(functions, p, t, {n: f(p, t) for n, f in functions.items()}, size)
    return check.finish()


@pytest.mark.parametrize("name", NO_MEANS)
def test_what_is_no_mean_is_found_within_a_few_batches(name: str) -> None:
    [found] = seen({name: NO_MEANS[name], "mae": MEANS["mae"]}, [8, 8, 8, 5])
    assert found.name == name
    assert found.together != pytest.approx(found.mean, rel=1e-3)


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_means_are_never_found_whatever_the_batches(sizes: list[int], seed: int) -> None:
    assert seen(MEANS, sizes, seed) == []


@pytest.mark.parametrize(("word", "kind"), CLASSES.items())
def test_the_class_that_is_right_is_named(word: str, kind: str) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    assert f"`torchmetrics.{kind}`" in str(NoMean(f"my_{word}", 0.1, 0.2))
    assert hasattr(torchmetrics, kind.partition("(")[0])


def test_a_name_that_says_nothing_gets_the_way_alone() -> None:
    assert "give a class of torchmetrics" in str(NoMean("score", 0.1, 0.2))


def test_what_needs_a_single_batch_is_left_alone() -> None:
    def picky(prediction: Tensor, target: Tensor) -> Tensor:
        if len(prediction) > 8:
            raise ValueError("8 at most")
        return f1(prediction, target)

    assert seen({"picky": picky}, [8, 8, 8]) == []


def test_predictions_that_do_not_fit_together_are_not_compared() -> None:
    check = MeanCheck()
    for length in (3, 5):
        p = torch.zeros(2, length)
        check.see({"mae": MEANS["mae"]}, p, p, {"mae": torch.tensor(float(length))}, 2)
    check.see({"mae": MEANS["mae"]}, {"a": p}, None, {"mae": 0.0}, 2)
    assert check.finish() == []


def test_a_mean_is_asked_no_more_once_it_is_known() -> None:
    calls: list[int] = []

    def counted(prediction: Tensor, target: Tensor) -> Tensor:
        calls.append(len(prediction))
        return (prediction - target).abs().mean()

    check = MeanCheck()
    for _ in range(4):
        for place in range(2 * PAIRS):
            p = torch.full((4,), float(place))
            check.see({"mae": counted}, p, -p, {"mae": torch.tensor(2.0 * place)}, 4)
        assert check.finish() == []
    assert calls == [8] * (2 * PAIRS - 1), "in the first evaluation"


def test_random_numbers_of_a_function_are_drawn_aside() -> None:
    check, p = MeanCheck(), torch.ones(4)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for _ in range(2):
        check.see({"noise": lambda p, t: torch.rand(())}, p, p, {"noise": torch.tensor(0.1)}, 4)
    assert torch.get_rng_state().equal(before)


def test_rare_hits_are_waited_for() -> None:
    check, t = MeanCheck(), torch.tensor([1.0, -1, -1, -1])
    for p in [-torch.ones(4)] * 100 + [t, -t, t]:
        check.see({"f1": f1}, p, t, {"f1": f1(p, t)}, 4)
    assert [found.name for found in check.finish()] == ["f1"]


def tried(metrics: dict[str, Any], epochs: int, caplog: pytest.LogCaptureFixture) -> list[str]:
    torch.manual_seed(0)
    x = torch.randn(100, 2)
    data = TensorDataset(x, (x[:, 0] + torch.randn(100) > 1).float())
    trainer = Trainer(
        lambda: nn.Sequential(nn.Linear(2, 1), nn.Flatten(0)),
        loss=nn.BCEWithLogitsLoss(),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.05),
        metrics=metrics,
        defaults=False,
        seed=0,
    )
    with caplog.at_level(logging.WARNING):
        trainer.fit(data, data, epochs=epochs, batch_size=8)
    return [record.message for record in caplog.records]


def test_a_run_says_once_which_of_its_metrics_is_no_mean(caplog: pytest.LogCaptureFixture) -> None:
    [warning] = tried({"f1": f1, "accuracy": accuracy}, 5, caplog)
    assert "'f1' is not a mean over samples" in warning
    assert "`torchmetrics.F1Score`" in warning
