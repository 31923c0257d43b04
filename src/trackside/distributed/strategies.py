"""`strategy="auto" | "ddp" | "fsdp" | DDP(...) | FSDP(...)`: from the word to the strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trackside.distributed.ddp import DDP
from trackside.distributed.parallel import OneProcess, Parallel
from trackside.errors import ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from trackside.distributed.world import World


def choose(parallel: str | Parallel, world: World) -> Parallel:
    """The strategy that `parallel` names; in a world of one process always `OneProcess`.

    Raises:
        ConfigurationError: There is no strategy of that name.
    """
    known: dict[str, Callable[[], Parallel]] = {"auto": DDP, "ddp": DDP, "fsdp": _fsdp}
    if not isinstance(parallel, Parallel) and parallel not in known:
        raise ConfigurationError(
            f"there is no way to train in parallel called {parallel!r}",
            expected="one of " + ", ".join(known) + ", DDP(...) or FSDP(...)",
            remedy=did_you_mean(str(parallel), known),
            option="strategy",
        )
    if world.size == 1:
        return OneProcess()
    return parallel if isinstance(parallel, Parallel) else known[parallel]()


def _fsdp() -> Parallel:
    # Here, because it takes longer to import than all of Trackside.
    from trackside.distributed.fsdp import FSDP  # noqa: PLC0415

    return FSDP()
