from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from trackside.checkpoint import StateMismatchError, load_model, match_model


def model(width: int = 4, *, head: bool = True) -> nn.Module:
    layers: dict[str, nn.Module] = {"body": nn.Linear(3, width)}
    if head:
        layers["head"] = nn.Linear(width, 2)
    return nn.ModuleDict(layers)


def weights(module: nn.Module) -> list[torch.Tensor]:
    return copy.deepcopy(list(module.state_dict().values()))


def test_the_same_model_matches_exactly() -> None:
    match = match_model(model().state_dict(), model())
    assert match.exact
    assert str(match) == "all 4 weights match"


def test_missing_unexpected_and_reshaped_weights_are_told_apart() -> None:
    state = {**model(4).state_dict(), "old.weight": torch.zeros(1)}
    other = model(5)
    other["extra"] = nn.Linear(1, 1)  # type: ignore[operator]
    match = match_model(state, other)
    assert not match.exact
    assert match.matched == ("head.bias",)
    assert match.missing == ("extra.weight", "extra.bias")
    assert match.unexpected == ("old.weight",)
    assert ("body.weight", (4, 3), (5, 3)) in match.shapes
    for line in ("missing in the checkpoint", "extra.weight", "old.weight", "(4, 3) saved, (5, 3)"):
        assert line in str(match)


def test_a_long_list_is_cut() -> None:
    state = {f"w{i}": torch.zeros(1) for i in range(30)}
    assert "and 10 more" in str(match_model(state, nn.Module()))


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module."])
def test_names_of_a_wrapped_model_are_recognised(prefix: str) -> None:
    state = {prefix + name: value for name, value in model().state_dict().items()}
    assert f"names in the checkpoint begin with `{prefix}`" in str(match_model(state, model()))


def test_strict_loading_refuses_a_difference_and_leaves_the_model_alone() -> None:
    target = model(4)
    before = weights(target)
    with pytest.raises(StateMismatchError, match=r"head\.weight"):
        load_model(model(4, head=False).state_dict(), target)
    assert all(map(torch.equal, before, weights(target)))


def test_loading_without_strictness_takes_what_matches() -> None:
    source, target = model(4), model(5)
    match = load_model(source.state_dict(), target, strict=False)
    assert match.matched == ("head.bias",)
    assert torch.equal(target.state_dict()["head.bias"], source.state_dict()["head.bias"])


def test_strict_loading_of_a_match_loads_everything() -> None:
    source, target = model(), model()
    assert load_model(source.state_dict(), target).exact
    assert all(map(torch.equal, weights(source), weights(target)))
