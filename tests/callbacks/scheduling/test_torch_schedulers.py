"""torch's schedulers by name."""

from __future__ import annotations

import pytest
import torch
from torch.optim import SGD, lr_scheduler

from trackside.callbacks.scheduling.torch_schedulers import factory, is_plateau, scheduler_names
from trackside.errors import ConfigurationError


def optimizer() -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


@pytest.mark.parametrize("name", ["StepLR", "step", "step_lr", "steplr"])
def test_a_name_may_be_written_in_several_ways(name: str) -> None:
    assert isinstance(factory(name, {"step_size": 2})(optimizer()), lr_scheduler.StepLR)


def test_all_of_torchs_schedulers_have_a_short_name() -> None:
    names = scheduler_names()

    assert {"one_cycle", "cosine_annealing", "reduce_lr_on_plateau", "sequential"} <= set(names)
    assert lr_scheduler.LRScheduler not in names.values()


def test_a_function_of_the_optimizer_does_as_well() -> None:
    made = factory(lambda o: lr_scheduler.LambdaLR(o, lambda n: 0.5**n), {})(optimizer())

    assert made.get_last_lr() == [0.1]


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigurationError, match="did you mean `cosine_annealing`"):
        factory("cosine_anealing", {})


def test_options_that_it_does_not_take_are_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="step_sise"):
        factory("step", {"step_sise": 2})


def test_only_one_of_them_watches_a_metric() -> None:
    assert is_plateau("reduce_lr_on_plateau")
    assert not is_plateau("step")
    assert not is_plateau(lambda o: None)
