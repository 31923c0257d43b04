"""The weights that are shown are those that the model uses, however it attends."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trackside.callbacks.pictures.attention import attention_weights, product_weights

GENERATOR = torch.Generator().manual_seed(0)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"scale": 0.3},
        {"attn_mask": torch.rand(5, 5, generator=GENERATOR) > 0.3},
        {"attn_mask": torch.rand(5, 5, generator=GENERATOR)},
    ],
)
def test_weights_of_the_fused_product_give_its_result(options: dict[str, Any]) -> None:
    query, key, value = draw(2, 3, 5, 4), draw(2, 3, 5, 4), draw(2, 3, 5, 6)
    if "attn_mask" in options and options["attn_mask"].dtype is torch.bool:
        options["attn_mask"].fill_diagonal_(True)  # each query sees something

    weights = product_weights(query, key, value, **options)
    expected = F.scaled_dot_product_attention(query, key, value, **options)
    torch.testing.assert_close(weights @ value, expected)


def test_grouped_queries_share_their_keys() -> None:
    query, key, value = draw(2, 4, 5, 4), draw(2, 2, 5, 4), draw(2, 2, 5, 4)

    weights = product_weights(query, key, value, enable_gqa=True)
    expected = F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    torch.testing.assert_close(weights @ value.repeat_interleave(2, dim=1), expected)


class Fused(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x)


class ByHand(nn.Module):
    def __init__(self, softmax: Any) -> None:
        super().__init__()
        self.softmax = softmax

    def forward(self, x: Tensor) -> Tensor:
        return self.softmax(x @ x.transpose(-2, -1)) @ x


@pytest.mark.parametrize(
    "layer",
    [
        Fused(),
        ByHand(lambda s: s.softmax(-1)),
        ByHand(lambda s: s.softmax(dim=3)),
        ByHand(lambda s: torch.softmax(s, -1)),
        ByHand(lambda s: F.softmax(s, dim=-1)),
    ],
)
def test_attention_is_found_however_it_is_written(layer: nn.Module) -> None:
    model = nn.ModuleDict({"layer": layer})
    x = draw(2, 3, 5, 4)
    with attention_weights(model) as found:
        result = layer(x)

    torch.testing.assert_close(found["layer"] @ x, result)


def test_a_softmax_over_classes_is_no_attention() -> None:
    with attention_weights(nn.Identity()) as found:
        draw(2, 3, 5, 4).softmax(dim=1)
        draw(2, 3).softmax(dim=-1)

    assert found == {}


@pytest.mark.parametrize("need", [True, False])
@pytest.mark.parametrize("average", [True, False])
def test_multihead_attention_tells_all_heads_and_answers_as_it_was_asked(
    need: bool, average: bool
) -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = draw(3, 5, 8)
    asked = {"need_weights": need, "average_attn_weights": average}
    plain, plain_weights = layer(x, x, x, **asked)
    with attention_weights(nn.ModuleDict({"layer": layer})) as found:
        result, weights = layer(x, x, x, **asked)

    assert found["layer"].shape == (3, 2, 5, 5)
    torch.testing.assert_close(result, plain)
    if need:
        torch.testing.assert_close(weights, plain_weights)
    else:
        assert weights is None
    expected = layer(x, x, x, average_attn_weights=False)[1]
    torch.testing.assert_close(found["layer"], expected)


def test_an_encoder_on_its_fast_path_is_seen_too() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = draw(3, 5, 8)
    with torch.no_grad():
        plain = model(x)
        with attention_weights(model) as found:
            result = model(x)

    assert list(found) == ["layers.0.self_attn", "layers.1.self_attn"]
    torch.testing.assert_close(result, plain)


def test_layers_are_chosen_by_name_and_a_second_time_is_told() -> None:
    fused = Fused()
    model = nn.ModuleDict({"one": fused, "two": Fused()})
    with attention_weights(model, ["one"]) as found:
        for layer in (fused, model["two"], fused):
            layer(draw(2, 3, 5, 4))

    assert list(found) == ["one", "one (2)"]


def test_hooks_are_gone_afterwards_also_after_an_error() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16)
    with pytest.raises(AssertionError), attention_weights(model):
        model(draw(3, 5, 7))

    hooks = [h for m in model.modules() for h in (*m._forward_hooks, *m._forward_pre_hooks)]
    assert hooks == []
