"""The order in which blocks gather others ahead of their turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def forward_prefetches(order: Sequence[T], ahead: int) -> list[tuple[T, list[T]]]:
    """For each block, the `ahead` blocks that run after it in the forward pass."""
    return [(block, [*order[i + 1 : i + 1 + ahead]]) for i, block in enumerate(order)]


def backward_prefetches(order: Sequence[T], ahead: int) -> list[tuple[T, list[T]]]:
    """For each block, the `ahead` blocks that run after it in the backward pass."""
    return forward_prefetches(list(reversed(order)), ahead)
