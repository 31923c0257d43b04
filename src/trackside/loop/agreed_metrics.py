"""Metrics of an evaluation are the same on every rank, whoever computes or changes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from trackside.distributed.world import World
from trackside.errors import UsageError

TOLERANCE = 1e-6
"""Relative; ranks on other hardware may add up to other last digits."""


def agreed(world: World, computed: Mapping[str, float]) -> dict[str, float]:
    """Metrics that every rank has computed, as rank 0 has them; a collective.

    Raises:
        UsageError: One differs between ranks: it is of each rank's batches alone.
    """
    if world.size == 1:
        return dict(computed)
    of_ranks = world.gather({name: float(value) for name, value in computed.items()})
    for name in dict.fromkeys(name for metrics in of_ranks for name in metrics):
        values = [metrics.get(name) for metrics in of_ranks]
        if not _are_one(values):
            raise UsageError(
                f"the metric {name!r} differs between ranks: it is of each rank's batches alone",
                expected="one value over the batches of all ranks",
                received=_listed(values),
                remedy="make it a `torchmetrics.Metric` whose states come from `add_state`: they "
                "are gathered; or a function of prediction and target: its mean is taken",
                option="metrics",
            )
    return {name: of_ranks[0][name] for name in computed}


def changes(
    world: World, before: Mapping[str, float], after: Mapping[str, float]
) -> dict[str, float]:
    """Metrics that callbacks have added or changed on any rank, for all ranks; a collective.

    Raises:
        UsageError: Ranks have changed one to different values.
    """
    mine = {name: value for name, value in after.items() if before.get(name) is not value}
    if world.size == 1:
        return mine
    of_ranks = world.gather({name: float(value) for name, value in mine.items()})
    found: dict[str, float] = {}
    for name in dict.fromkeys(name for metrics in of_ranks for name in metrics):
        values = [metrics[name] for metrics in of_ranks if name in metrics]
        if not _are_one(values):
            raise UsageError(
                f"callbacks put other values into `evaluation.metrics` on other ranks: {name!r}",
                expected="one value for all ranks",
                received=_listed([metrics.get(name) for metrics in of_ranks]),
                remedy=f"`run.log({name!r}, value)` takes the mean over ranks; or put it in on one "
                "rank only: the others get it from there",
            )
        found[name] = values[0]
    return found


def _are_one(values: Iterable[float | None]) -> bool:
    first, *others = values
    return all(_is_same(first, other) for other in others)


def _is_same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    both_nan = math.isnan(one) and math.isnan(other)
    return both_nan or math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=1e-9)


def _listed(values: Iterable[float | None]) -> str:
    parts = (
        f"{'none' if value is None else format(value, '.6g')} on rank {rank}"
        for rank, value in enumerate(values)
    )
    return ", ".join(parts)
