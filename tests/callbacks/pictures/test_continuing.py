"""Tokens that a model adds, one after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trackside.callbacks.pictures.continuing import continued, encoded
from trackside.errors import DataError


def scores(tokens: Tensor) -> Tensor:
    """The token after the last one is the likeliest, of ten."""
    following = (tokens + 1) % 10
    return nn.functional.one_hot(following, 10).float() * 5


def add(count: int, **options: Any) -> list[int]:
    given: dict[str, Any] = {
        "temperature": 0.0,
        "generator": torch.Generator().manual_seed(0),
        "device": torch.device("cpu"),
        "model": scores,
        **options,
    }
    return continued(given.pop("model"), [3], count, **given)


def test_the_likeliest_token_is_added() -> None:
    assert add(3) == [3, 4, 5, 6]


def test_nothing_is_added_after_the_end() -> None:
    assert add(9, end=5) == [3, 4, 5]


def test_tokens_are_drawn_by_their_shares() -> None:
    hot = add(200, temperature=100.0)
    assert len(set(hot)) == 10
    assert add(20, temperature=0.01) == [(3 + n) % 10 for n in range(21)]


def test_the_model_gets_as_much_as_it_takes() -> None:
    seen: list[int] = []

    def looks(tokens: Tensor) -> Tensor:
        seen.append(tokens.shape[1])
        return scores(tokens)

    add(4, model=looks, context=2)
    assert seen == [1, 2, 2, 2]


@pytest.mark.parametrize(
    "wrapped", [lambda found: {"logits": found}, lambda found: (found, None), lambda found: found]
)
def test_scores_are_found_in_what_models_return(wrapped: Any) -> None:
    assert add(2, model=lambda tokens: wrapped(scores(tokens))) == [3, 4, 5]


@pytest.mark.parametrize("given", [torch.zeros(1, 10), {"loss": 0}, (), None])
def test_what_is_no_score_is_refused(given: Any) -> None:
    with pytest.raises(DataError, match="no scores of the next token"):
        add(1, model=lambda tokens: given)


class Nothing:
    def encode(self, text: str) -> list[int]:
        return []

    def decode(self, tokens: list[int]) -> str:
        return ""


def test_tokens_are_numbers_or_stand_in_an_object() -> None:
    class Encoding:
        ids = (1, 2)

    class InAnObject(Nothing):
        def encode(self, text: str) -> Any:
            return Encoding()

    assert encoded(InAnObject(), "a") == [1, 2]


def test_a_prompt_without_a_token_is_refused() -> None:
    with pytest.raises(DataError, match="makes no token"):
        encoded(Nothing(), "a")
