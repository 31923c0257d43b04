"""Addresses name attributes of a run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD

from trackside.errors import ConfigurationError
from trackside.models.attribute_paths import places
from trackside.run import Run


class Steps:
    """As much of a trainer as addresses look at."""

    def __init__(self) -> None:
        self.loss: Any = nn.CrossEntropyLoss(label_smoothing=0.1)
        self.metrics = {"fid": nn.Linear(1, 1)}


@pytest.fixture
def run() -> Run:
    run: Any = Run("fit")
    first, second = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)), nn.Linear(2, 1)
    run.models = {"model": first, "critic": second}
    groups = [{"params": [p], "lr": 0.1 * n} for n, p in enumerate(first.parameters(), start=1)]
    run.optimizers = {"model": SGD(groups), "critic": SGD(second.parameters(), lr=0.5)}
    run.steps = Steps()
    run.callbacks = {"ema": object()}
    return run


@pytest.mark.parametrize(
    ("address", "values"),
    [
        ("model.1.p", [0.5]),
        ("models.critic.out_features", [1]),
        ("loss.label_smoothing", [0.1]),
        ("optimizer.lr", [0.1, 0.2, 0.5]),
        ("optimizer.1.lr", [0.2]),
        ("optimizers.critic.lr", [0.5]),
        ("optimizers.model.0.momentum", [0]),
        ("metrics.fid.in_features", [1]),
    ],
)
def test_an_address_names_what_the_table_says(run: Run, address: str, values: list[float]) -> None:
    assert [place.get() for place in places(run, address)] == values


def test_a_part_itself_can_be_named(run: Run) -> None:
    assert places(run, "model")[0].get() is run.models["model"]
    assert places(run, "loss")[0].get() is run.steps.loss  # type: ignore[attr-defined]
    assert places(run, "callbacks.ema")[0].get() is run.callbacks["ema"]


def test_what_is_put_in_a_place_is_found_there(run: Run) -> None:
    for address in ("model.1.p", "optimizer.1.lr"):
        places(run, address)[0].put(0.25)

        assert places(run, address)[0].get() == 0.25


def test_a_tensor_is_filled_and_stays_the_same_tensor(run: Run) -> None:
    run.models["model"].register_buffer("scale", torch.ones(()))
    scale = run.models["model"].scale

    places(run, "model.scale")[0].put(3.0)

    assert run.models["model"].scale is scale
    assert scale == 3.0


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("weights.1", "one of: callbacks, loss"),
        ("model.1.q", "a part of `Dropout`"),
        ("models.critc.bias", "did you mean `critic`"),
        ("optimizer.7.lr", "a number below 3"),
        ("optimizer.lr.x", "an option of the optimizer's groups"),
        ("optimizers", "one of `optimizers`"),
        ("metrics.fidd", "did you mean `fid`"),
    ],
)
def test_an_address_that_names_nothing_says_which_part(
    run: Run, address: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        places(run, address)


def test_a_run_without_a_loss_says_so(run: Run) -> None:
    run.steps.loss = None  # type: ignore[attr-defined]

    with pytest.raises(ConfigurationError, match="the trainer has none"):
        places(run, "loss.label_smoothing")
