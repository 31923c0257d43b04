"""A debug mode that names the callback whose collectives differ between ranks, instead of hanging.

A callback that calls a collective on some ranks only (`if rank == 0: barrier()`), or another one
than elsewhere, leaves all ranks waiting for each other. With `TRACKSIDE_CHECK_COLLECTIVES=1`, every
collective that a callback calls is first compared over ranks through the rendezvous store.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore

from trackside.errors import TracksideError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

    from trackside.distributed.world import World

VARIABLE = "TRACKSIDE_CHECK_COLLECTIVES"

CHECKED = (
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_object",
    "all_reduce",
    "all_to_all",
    "all_to_all_single",
    "barrier",
    "broadcast",
    "broadcast_object_list",
    "gather",
    "gather_object",
    "monitored_barrier",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_tensor",
    "scatter",
    "scatter_object_list",
)
"""Functions of torch.distributed that are compared; World's methods are made of them."""

_checks = itertools.count()
"""Each check compares under its own prefix: all ranks begin equally many."""


class CollectivesDifferError(TracksideError):
    """Callbacks call other collectives on one rank than on another."""


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for the check."""
    return environment.get(VARIABLE, "0") not in ("", "0")


class CollectivesCheck:
    """Compares, within `with`, the collectives that callbacks call on each rank.

    It replaces the functions of `torch.distributed` by ones that compare first; code that has
    imported them by name before is not seen. Every collective then costs several round trips to the
    store: for looking for a fault, not for training.

    Args:
        world: The ranks; of one process, nothing is checked.
        current_callback: Names the callback whose hook is being called, or None while the loop
            itself runs: its own collectives are not checked.
        patience_seconds: How long the other ranks may take to come to the same collective.
    """

    def __init__(
        self,
        world: World,
        current_callback: Callable[[], str | None],
        patience_seconds: float = 30.0,
    ) -> None:
        self._world = world
        self._speaker = current_callback
        self._patience = timedelta(seconds=patience_seconds)
        self._originals: dict[str, Any] = {}
        self._count = 0
        self._thread = 0

    def start(self) -> None:
        """Begin to compare what this thread calls; others have connections of their own."""
        self._thread = threading.get_ident()
        if self._world.links is not None:
            store = PrefixStore(f"collectives/{next(_checks)}", self._world.links.store)
            for name in CHECKED:
                self._originals[name] = getattr(dist, name)
                setattr(dist, name, self._checked(name, self._originals[name], store))

    def stop(self) -> None:
        """Put torch's functions back."""
        for name, original in self._originals.items():
            setattr(dist, name, original)
        self._originals.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _checked(self, name: str, original: Any, store: Store) -> Any:
        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            current_callback = self._speaker() if threading.get_ident() == self._thread else None
            if current_callback is not None:
                self._compare(store, [_describe(name, args, kwargs), current_callback])
            return original(*args, **kwargs)

        return call

    def _compare(self, store: Store, mine: list[str]) -> None:
        """Wait until every rank has said what it calls as its n-th collective.

        Raises:
            CollectivesDifferError: It is another one, or nothing comes.
        """
        self._count += 1
        own_rank = self._world.rank
        store.set(f"{self._count}/{own_rank}", json.dumps(mine))
        for rank in range(self._world.size):
            key = f"{self._count}/{rank}"
            try:
                store.wait([key], self._patience)
            except dist.DistStoreError:
                raise CollectivesDifferError(
                    f"callback {mine[1]!r} calls {mine[0]} on rank {own_rank}, and rank {rank} "
                    f"has called no such thing for {self._patience.total_seconds():g} seconds",
                    remedy="call collectives on every rank, never under `if rank == 0`",
                ) from None
            theirs = json.loads(store.get(key))
            if theirs != mine:
                raise CollectivesDifferError(
                    "callbacks call different collectives",
                    expected="the same ones, in the same order, on every rank",
                    received=f"{mine[0]} by {mine[1]!r} on rank {own_rank}, "
                    f"{theirs[0]} by {theirs[1]!r} on rank {rank}",
                    remedy="look for a collective under a condition that differs between ranks",
                )
        # All are here, so all have read what was said before.
        store.delete_key(f"{self._count - 1}/{own_rank}")


def _describe(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    tensors = (value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
    first = next(tensors, None)
    if first is None:
        return name
    return f"{name} of {str(first.dtype).removeprefix('torch.')}{list(first.shape)}"
