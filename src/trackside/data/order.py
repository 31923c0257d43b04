"""Whether the batches of a pass are in the order of the data, and whether all samples are there."""

from __future__ import annotations

import logging
from collections.abc import Sized
from typing import TYPE_CHECKING

from trackside.data.source import DataSource

if TYPE_CHECKING:
    from trackside.distributed.world import World

logger = logging.getLogger("trackside")


class PassOrder:
    """Compares a pass with the order of its data set, batch by batch, and says what differs, once.

    It goes by the numbers of samples that the loader's sampler gave. Where there is no sampler, the
    order of the data is whatever comes.

    Args:
        source: The data; asked before its pass begins.
        world: The ranks that share the pass; rank 0 compares the batches of all of them.
        aside: Whether it is a pass beside others, which `DataSource.aside` remembers.
    """

    def __init__(self, source: DataSource, world: World, *, aside: bool = False) -> None:
        self._aside = aside
        self._source = source
        self._ranks = world.size
        self._asks = world.is_global_zero and not source.split.is_split
        self._batches = 0
        self._samples = 0
        data = getattr(source.loader, "dataset", None)
        self._length = len(data) if isinstance(data, Sized) else None
        if not aside:
            source.remember()

    def check_round(self) -> None:
        """Look at the batches that the ranks have just taken."""
        for _ in range(self._ranks if self._asks else 0):
            if self._aside:
                samples = self._source.samples_aside(self._batches)
            else:
                samples = self._source.identify(0, self._batches).samples
            self._batches += 1
            if samples != tuple(range(self._samples, self._samples + len(samples))):
                self._asks = False
                self._tell(
                    "gives samples in another order than the data set's (batch "
                    f"{self._batches} begins with {_listed(samples)}): prediction i is not that of "
                    "sample i. To fix: give the data set itself, or a DataLoader without "
                    "`shuffle` and `sampler`"
                )
                return
            self._samples += len(samples)

    def check_end(self) -> None:
        """Look whether all samples came, once the pass is over."""
        if not self._asks or self._length is None or self._samples == 0:
            return
        if self._samples < self._length and self._source.limited_to is None:
            left_out = self._length - self._samples
            self._tell(
                f"leaves out {left_out} of the {self._length} samples of the data set. To fix: "
                "give the data set itself, or a DataLoader without `drop_last`"
            )

    def _tell(self, says: str) -> None:
        logger.warning("the loader of the data named %r %s", self._source.name, says)


def _listed(samples: tuple[int, ...]) -> str:
    return ", ".join(map(str, samples[:3])) + (", ..." if len(samples) > 3 else "")
