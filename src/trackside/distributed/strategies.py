"""`strategy="auto" | "ddp" | "fsdp" | DDP(...) | FSDP(...)`: from the word to the strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trackside.distributed.ddp import DDP
from trackside.distributed.parallel import OneProcess, Parallel
from trackside.errors import ConfigurationError, did_you_mean, shortened
from trackside.vocabulary.objects import place_of

if TYPE_CHECKING:
    from trackside.distributed.world import World


def choose(strategy: str | Parallel, world: World) -> Parallel:
    """The strategy that `strategy` names; in a world of one process always `OneProcess`.

    Raises:
        ConfigurationError: There is no strategy of that name.
    """
    check_known(strategy)
    if world.size == 1:
        return OneProcess()
    return strategy if isinstance(strategy, Parallel) else KNOWN[strategy]()


def check_known(strategy: object) -> None:
    """Refuse a word or an object that names no strategy, also where there is one process.

    Raises:
        ConfigurationError: It is one.
    """
    if isinstance(strategy, Parallel) or (isinstance(strategy, str) and strategy in KNOWN):
        return
    raise ConfigurationError(
        f"there is no way to train in parallel called {shortened(strategy)}",
        expected="one of " + ", ".join(KNOWN) + ", DDP(...) or FSDP(...)",
        remedy=place_of(strategy) or did_you_mean(str(strategy), KNOWN),
        option="strategy",
    )


def _fsdp() -> Parallel:
    # Here, because it takes longer to import than all of Trackside.
    from trackside.distributed.fsdp import FSDP  # noqa: PLC0415

    return FSDP()


KNOWN: dict[str, Callable[[], Parallel]] = {"auto": DDP, "ddp": DDP, "fsdp": _fsdp}
"""Words, and what makes the strategy."""
