"""Texts that a language model continues, token by token, from a generator of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from trackside.data.batches import describe
from trackside.errors import DataError


class Tokenizer(Protocol):
    """The parts of a tokenizer that are used; those of transformers and `tokenizers` have them."""

    def encode(self, text: str) -> Any:
        """Tokens of a text: numbers, or an object with them as `ids`."""

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens."""


def encoded(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Tokens of a prompt.

    Raises:
        DataError: There are none.
    """
    found = tokenizer.encode(prompt)
    tokens = [int(token) for token in getattr(found, "ids", found)]
    if not tokens:
        raise DataError(
            f"the tokenizer makes no token of the prompt {prompt!r}", expected="one token or more"
        )
    return tokens


def continued(
    model: Callable[[Tensor], Any],
    tokens: Sequence[int],
    count: int,
    *,
    temperature: float,
    generator: torch.Generator,
    device: torch.device,
    context: int | None = None,
    end: int | None = None,
) -> list[int]:
    """`tokens`, and up to `count` more that the model adds.

    Args:
        model: Gives scores `(1, L, V)` of tokens `(1, L)`.
        tokens: One or more.
        count: How many to add at most.
        temperature: 0 takes the likeliest; otherwise they are drawn, from scores divided by it.
        generator: Draws, on the host.
        device: Of the model.
        context: How many of the last tokens the model gets; None: all.
        end: Token after which nothing is added; None: there is none.

    Raises:
        DataError: What the model gives are no scores.
    """
    found = list(tokens)
    for _ in range(count):
        given = found if context is None else found[-context:]
        scores = _scores(model(torch.tensor([given], device=device)))[0, -1].cpu().double()
        if temperature == 0:
            token = int(scores.argmax())
        else:
            shares = torch.softmax(scores / temperature, 0)
            token = int(torch.multinomial(shares, 1, generator=generator))
        found.append(token)
        if token == end:
            break
    return found


def _scores(output: Any) -> Tensor:
    """Scores `(1, L, V)`: the output itself, its `logits`, or its first part."""
    found = output
    if isinstance(output, Mapping):
        found = output.get("logits")
    elif not isinstance(output, Tensor):
        found = getattr(output, "logits", None)
        if found is None and isinstance(output, (tuple, list)) and output:
            found = output[0]
    if not isinstance(found, Tensor) or found.ndim != 3:
        raise DataError(
            "the model gives no scores of the next token",
            expected="shape (1, L, V), or an object with them as `logits`",
            received=describe(output),
            remedy="give `function`, which makes a text of a prompt",
        )
    return found
