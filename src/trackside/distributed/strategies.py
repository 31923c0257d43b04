"""`strategy="auto" | "ddp" | "fsdp" | DDP(...) | FSDP(...)`: from the word to the strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trackside.distributed.ddp import DDP
from trackside.distributed.parallel import OneProcess, Parallel
from trackside.errors import ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from trackside.distributed.world import World


def choose(strategy: str | Parallel, world: World) -> Parallel:
    """The strategy that `strategy` names; in a world of one process always `OneProcess`.

    Raises:
        ConfigurationError: There is no strategy of that name.
    """
    known: dict[str, Callable[[], Parallel]] = {"auto": DDP, "ddp": DDP, "fsdp": _fsdp}
    if not isinstance(strategy, Parallel) and strategy not in known:
        raise ConfigurationError(
            f"there is no way to train in parallel called {strategy!r}",
            expected="one of " + ", ".join(known) + ", DDP(...) or FSDP(...)",
            remedy=did_you_mean(str(strategy), known),
            option="strategy",
        )
    if world.size == 1:
        return OneProcess()
    return strategy if isinstance(strategy, Parallel) else known[strategy]()


def _fsdp() -> Parallel:
    # Here, because it takes longer to import than all of Trackside.
    from trackside.distributed.fsdp import FSDP  # noqa: PLC0415

    return FSDP()
