"""Functions and hooks that run on some ranks only."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from trackside.distributed.setup import RankInfo
from trackside.errors import ConfigurationError, UsageError
from trackside.run import Run

F = TypeVar("F", bound=Callable[..., Any])


def on_rank(*ranks: int, barrier: bool = False) -> Callable[[F], F]:
    """Let a function, or a hook of a callback, run on these ranks only; elsewhere it returns None.

    Args:
        ranks: Global ranks, from 0.
        barrier: Whether the other ranks wait until it is done, also where it fails. Only for a
            function that gets the run, as hooks do.

    Raises:
        ConfigurationError: No rank, or one below 0.

    Example:
        >>> class Diary(Callback):
        ...     @on_rank(0)
        ...     def on_epoch_end(self, run, metrics):
        ...         print(metrics)
    """
    if not ranks or min(ranks) < 0:
        raise ConfigurationError(
            "a function runs on ranks that there are",
            expected="one or more of 0, 1, ...",
            received=", ".join(map(str, ranks)) or "none",
        )

    def decorate(function: F) -> F:
        @wraps(function)
        def call(*given: Any, **named: Any) -> Any:
            run = next((one for one in (*given, *named.values()) if isinstance(one, Run)), None)
            if barrier and run is None:
                raise UsageError(
                    f"`{function.__name__}` is to be waited for, and gets no run",
                    remedy="give it the run as an argument, or leave `barrier` out",
                )
            rank = RankInfo.from_environment().rank if run is None else run.world.rank
            try:
                return function(*given, **named) if rank in ranks else None
            finally:
                if barrier and run is not None:
                    run.world.barrier()

        return call  # type: ignore[return-value]

    return decorate


def rank_zero_only(function: F) -> F:
    """Let a function, or a hook of a callback, run on rank 0 only; elsewhere it returns None.

    A callback all of whose hooks are meant for rank 0 says so with `rank_zero_only = True`.
    """
    return on_rank(0)(function)
