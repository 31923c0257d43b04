"""The checkpoints of a run whose trainer is another one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from trackside import NonFiniteError, UsageError
from trackside.resume import Custody


def saved(custody: Custody, step: int, model: nn.Module) -> None:
    custody.save(step, {"model": model}, {"weights": model.state_dict()}, {}, "due")


def test_the_newest_of_the_run_that_was_begun_last_is_found() -> None:
    model, custody = nn.Linear(2, 1), Custody("run")
    assert custody.newest() is None
    custody.begin({"model": model}, None)
    saved(custody, 3, model)
    saved(custody, 6, model)
    custody.end()

    found = custody.newest()

    assert found is not None
    assert found.manifest.step == 6
    assert torch.equal(found.state()["weights"]["weight"], model.weight)
    custody.begin({"model": model}, None)  # another run begins, and has none yet
    assert custody.newest() is None
    custody.end()


def test_a_resumed_run_keeps_its_identity_and_as_many_as_it_should() -> None:
    model, custody = nn.Linear(2, 1), Custody("run", keep_last=1)
    custody.begin({"model": model}, None)
    saved(custody, 3, model)
    custody.end()
    resumed = custody.newest()
    custody.begin({"model": model}, resumed)
    saved(custody, 6, model)
    custody.end()

    assert resumed is not None
    newest = custody.newest()
    assert newest is not None
    assert newest.manifest.run_id == resumed.manifest.run_id
    assert [path.name for path in Path("run/checkpoints").glob("step-*")] == ["step-0000000006"]


def test_weights_that_are_not_finite_are_never_the_newest() -> None:
    model, custody = nn.Linear(2, 1), Custody("run")
    custody.begin({"model": model}, None)
    with torch.no_grad():
        model.weight[0, 0] = float("nan")

    with pytest.raises(NonFiniteError, match=r"model\.weight"):
        saved(custody, 3, model)

    custody.end()
    assert custody.newest() is None


def test_a_folder_is_one_run_s_at_a_time() -> None:
    model, one, other = nn.Linear(2, 1), Custody("run"), Custody("run")
    one.begin({"model": model}, None)

    with pytest.raises(UsageError):
        other.begin({"model": model}, None)

    one.end()
    other.begin({"model": model}, None)
    other.end()


def test_nothing_is_saved_outside_of_training() -> None:
    with pytest.raises(UsageError, match="before training began"):
        saved(Custody("run"), 1, nn.Linear(2, 1))
