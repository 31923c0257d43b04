"""Values that are left out of the means: those of steps that made no update."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from tests.device import DEVICE
from trackside.progress import Progress
from trackside.step.means import BLOCK, Mean
from trackside.step.metrics import MetricLog

NAN = math.nan


def mean_of(mean: Mean) -> float:
    mean.fold()
    assert mean.epoch is not None
    total, weight = mean.epoch
    return float(total / weight)


def test_only_the_step_that_was_skipped_loses_what_is_not_finite() -> None:
    log = MetricLog(progress=(progress := Progress()))
    for value in (1.0, NAN):  # of a step that made its update, and that a person wants to see
        log.log("train/other", value, 1.0)
    progress.steps_completed = 1
    log.log("train/other", NAN, 1.0)
    log.log("train/x", 5.0, 1.0)
    log.log("train/x", NAN, 1.0)
    progress.steps_completed = 2
    log.leave_out()
    means = log.epoch()
    assert math.isnan(means["train/other"])
    assert means["train/x"] == 5.0


@pytest.mark.parametrize("before", [1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_a_value_is_left_out_wherever_the_block_ends(before: int) -> None:
    log = MetricLog(progress=(progress := Progress()))
    for _ in range(before):
        log.log("train/x", 1.0, 1.0)
        progress.steps_completed += 1
    log.log("train/x", NAN, 1.0)
    progress.steps_completed += 1
    log.leave_out()
    assert log.epoch() == {"train/x": 1.0}


@pytest.mark.parametrize(("skipped", "expected"), [(True, 2.0), (False, NAN)])
def test_a_device_leaves_out_by_itself_what_it_alone_knows(skipped: bool, expected: float) -> None:
    mean = Mean()
    mean.keep((torch.tensor(2.0), 1))
    mean.keep((torch.tensor(NAN), 1))
    mean.leave_out(1, where=torch.tensor(skipped), last=1)
    assert mean_of(mean) == pytest.approx(expected, nan_ok=True)


def test_what_is_finite_stays_in_the_mean_of_a_skipped_step() -> None:
    mean = Mean()
    mean.keep((2.0, 1))
    mean.keep((4.0, 1))
    mean.leave_out(1, last=1)
    assert mean_of(mean) == 3.0


def test_a_record_has_no_name_whose_values_all_were_left_out() -> None:
    log = MetricLog(progress=(progress := Progress()))
    log.log("train/x", NAN, 1.0)
    progress.steps_completed = 1
    log.leave_out()
    assert log.recent() == {}


@pytest.mark.parametrize(
    "values", [(0.1, 0.2), (torch.tensor(0.1), torch.tensor([0.2])), (0.1, torch.tensor(0.2))]
)
def test_sums_of_the_host_are_numbers_and_have_the_same_bits_after_a_resume(values: Any) -> None:
    whole, second = Mean(), Mean()
    for value, weight in zip(values, (3, 0.7), strict=True):
        whole.keep((value, weight))
    second.load_state_dict(whole.state_dict(), torch.device("cpu"))
    for mean in (whole, second):
        mean.keep((0.3, 1))
        mean.fold()
    assert isinstance(whole.epoch, tuple)
    assert second.epoch == whole.epoch
    assert second.state_dict()["epoch"].equal(whole.state_dict()["epoch"])


KINDS: dict[str, Any] = {
    "number": float,
    "NumPy's": np.float32,
    "the host's": torch.tensor,
    "the device's": lambda value: torch.tensor(value).to(DEVICE),
}


@pytest.mark.parametrize("break_after", ["nothing", "a record", "a resume"])
@pytest.mark.parametrize("kinds", list(product(KINDS, repeat=3)), ids=" then ".join)
def test_values_of_any_kind_have_one_mean_in_any_order_and_over_a_resume(
    kinds: tuple[str, ...], break_after: str
) -> None:
    log = MetricLog()
    for number, kind in enumerate(kinds, start=1):
        log.log("train/x", KINDS[kind](float(number)), number)
        if number == 2 and break_after == "a record":
            log.recent()
        elif number == 2 and break_after == "a resume":
            state, log = log.state_dict(), MetricLog()
            log.load_state_dict(state, DEVICE)
    assert log.epoch() == {"train/x": pytest.approx(14 / 6)}
