from __future__ import annotations

from torch import nn

from trackside.models.naming import named_parameters, prefix


def test_parameters_of_a_single_model_have_their_own_names() -> None:
    names = dict(named_parameters({"model": nn.Linear(1, 1)}))
    assert list(names) == ["weight", "bias"]


def test_parameters_of_several_models_begin_with_the_name_of_theirs() -> None:
    models = {"generator": nn.Linear(1, 1, bias=False), "critic": nn.Linear(1, 1, bias=False)}
    names = dict(named_parameters(models))
    assert list(names) == ["generator.weight", "critic.weight"]


def test_the_separator_can_be_another() -> None:
    assert prefix("critic", ["generator", "critic"], "/") == "critic/"
    assert prefix("model", ["model"], "/") == ""
