"""Loaders and data sets that keep their position themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from trackside.errors import DataError


@runtime_checkable
class Stateful(Protocol):
    """A loader or data set that keeps its own position, such as torchdata's."""

    def state_dict(self) -> dict[str, Any]:
        """The position."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a position."""


def check_second_pass(name: str, loader: object, remedy: str | None = None) -> None:
    """Refuse an iterable that has no room for a second pass while one is under way.

    Args:
        name: Of the data, for messages.
        loader: No loader of torch: those can be copied.
        remedy: How to do without, for messages.

    Raises:
        DataError: It is an iterator, or keeps one position.
    """
    if isinstance(loader, (Iterator, Stateful)):
        raise DataError(
            f"the data named {name!r} has no room for a second pass beside the first",
            expected="a Dataset, a DataLoader, or an iterable that can be read again",
            received=type(loader).__name__,
            remedy=remedy,
        )
