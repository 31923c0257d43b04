"""State that comes back is of the kind that was saved, or refused by its place."""

from __future__ import annotations

from typing import Any

import pytest

from trackside.errors import CheckpointError
from trackside.saved import check_options, checked, is_of_metric


def test_what_is_of_its_kind_comes_back_as_it_is() -> None:
    state = {"waited": 3, "best": None, "more": object()}

    assert checked(state, waited=int, best=float | None) is state


@pytest.mark.parametrize(
    ("state", "place"),
    [
        (None, "the top"),
        ({}, "waited"),
        ({"waited": "3", "best": 0.5}, "waited"),
        ({"waited": True, "best": 0.5}, "waited"),
        ({"waited": 3, "best": [0.5]}, "best"),
    ],
)
def test_another_kind_is_refused_by_its_place(state: Any, place: str) -> None:
    with pytest.raises(CheckpointError, match=f"holds at `{place}"):
        checked(state, waited=int, best=float | None)


@pytest.mark.parametrize(
    ("saved", "place"),
    [
        ({"lr": "x", "betas": (0.9, 0.99)}, "groups.lr"),
        ({"lr": None, "betas": (0.9, 0.99)}, "groups.lr"),
        ({"lr": 10**30, "betas": (0.9, 0.99)}, "groups.lr"),
        ({"betas": (0.9, 0.99)}, "groups.lr"),
        ({"lr": 0.1, "betas": (0.9,)}, "groups.betas"),
        ({"lr": 0.1, "betas": (0.9, "x")}, "groups.betas.1"),
        ({"lr": 0.1, "betas": (0.9, 0.99), "fused": 3}, "groups.fused"),
        ({"lr": 0.1, "betas": (0.9, 0.99), "mode": 3}, "groups.mode"),
    ],
)
def test_options_are_of_the_kinds_that_are_there_now(saved: Any, place: str) -> None:
    own = {"lr": 0.1, "betas": (0.9, 0.999), "fused": False, "mode": "min", "last": None}
    with pytest.raises(CheckpointError, match=f"holds at `{place}`"):
        check_options("groups", saved, own)


def test_options_that_are_not_known_yet_may_be_anything() -> None:
    check_options("scheduler", {"best": 0.5, "fused": None}, {"best": None, "fused": True})


def test_what_is_known_of_another_metric_is_told(caplog: pytest.LogCaptureFixture) -> None:
    state = {"monitor": "val/loss", "mode": "min"}

    assert is_of_metric(state, "EarlyStopping", "val/loss", "min")
    assert is_of_metric({}, "EarlyStopping", "val/loss", "min")
    assert not caplog.text
    assert not is_of_metric(state, "EarlyStopping", "val/loss", "max")
    assert not is_of_metric(state, "EarlyStopping", "val/accuracy", "min")
    assert "is of the metric val/loss (min), it watches val/accuracy (min) now" in caplog.text
    with pytest.raises(CheckpointError, match="holds at `monitor`"):
        is_of_metric({"monitor": 3}, "EarlyStopping", "val/loss", "max")
