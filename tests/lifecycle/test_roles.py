"""Who has a role: built-in callbacks, and those of users, by having its part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from trackside.callbacks import (
    EMA,
    SWA,
    BestCheckpoint,
    Checkpoint,
    EarlyStopping,
    Evaluate,
    LRScheduler,
    Report,
)
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.roles import (
    ChoosesAverages,
    EvaluatesAverages,
    HandsWeightsOver,
    HasPatience,
    HasSchedulers,
    HasWeights,
    KeepsAverages,
    KeepsBestWeights,
    MakesReport,
    SavesInBackground,
)


class Lookahead(Callback[Any]):
    """A user's own."""

    @contextmanager
    def averaged(self, run: Any) -> Iterator[None]:
        yield


@pytest.mark.parametrize(
    ("callback", "role"),
    [
        (EMA(), KeepsAverages),
        (EMA(), HasWeights),
        (EMA(), EvaluatesAverages),
        (SWA("1 epoch"), EvaluatesAverages),
        (Evaluate(), ChoosesAverages),
        (SWA("1 epoch"), KeepsAverages),
        (SWA("1 epoch"), HasWeights),
        (SWA("1 epoch"), HandsWeightsOver),
        (LRScheduler("StepLR", {"step_size": 1}), HasSchedulers),
        (EarlyStopping(), HasPatience),
        (Checkpoint(), SavesInBackground),
        (Lookahead(), KeepsAverages),
        (BestCheckpoint(), KeepsBestWeights),
        (Report(), MakesReport),
    ],
)
def test_a_callback_has_the_role_whose_part_it_has(callback: Callback[Any], role: type) -> None:
    assert isinstance(callback, role)


@pytest.mark.parametrize(
    "role",
    [
        ChoosesAverages,
        EvaluatesAverages,
        HandsWeightsOver,
        KeepsAverages,
        HasWeights,
        HasSchedulers,
        HasPatience,
        SavesInBackground,
        KeepsBestWeights,
        MakesReport,
    ],
)
def test_a_callback_has_no_role_by_default(role: type) -> None:
    assert not isinstance(Callback[Any](), role)
