"""States of torchmetrics' metrics over all ranks, of any kind, in one exchange.

torchmetrics gathers each tensor of each state by itself: ranks that have other numbers of tensors
in a list, or none, wait for each other without end. Here every rank sends all that it has, and each
puts together the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from trackside.errors import ConfigurationError

if TYPE_CHECKING:
    from trackside.distributed.world import World

Reduction = Callable[[Any], Any] | None


@contextmanager
def over_ranks(world: World, metrics: Mapping[str, Any]) -> Iterator[None]:
    """Within it, the metrics have taken in the batches of all ranks; a collective.

    `compute` then gives the same on every rank. Afterwards each has its own state again. Metrics
    that aren't torchmetrics', and those that have a way to gather (`dist_sync_fn`,
    `process_group`, `sync_on_compute=False`), are left alone.

    Args:
        world: The ranks.
        metrics: By name, the same on each rank.

    Raises:
        ConfigurationError: States of one metric have other shapes on other ranks.
    """
    parts = [] if world.size == 1 else list(_parts(metrics))
    if not parts:
        yield
        return
    own = [(part.update_count, _state(part)) for _, part in parts]
    of_ranks = world.gather(own)
    with ExitStack() as exits:
        for index, (name, part) in enumerate(parts):
            counts = [of_rank[index][0] for of_rank in of_ranks]
            states = [of_rank[index][1] for of_rank in of_ranks]
            exits.callback(_put, part, own[index][1], part.distributed_available_fn)
            _put(part, _merged(name, part, counts, states), _not_available)
        exits.enter_context(warnings.catch_warnings())
        # A rank without a batch has updated nothing, and has a state all the same.
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        yield


def _parts(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every metric that has a state, also those inside of others, by the outer's name."""
    for name, metric in metrics.items():
        if not isinstance(metric, nn.Module):
            continue
        if hasattr(metric, "compute_groups"):  # members of a group share one state
            metric.values(copy_state=False)  # type: ignore[operator]
        for part in metric.modules():
            if _has_state(part) and not _gathers_itself(part):
                yield name, part


def _has_state(part: Any) -> bool:
    return isinstance(getattr(part, "_defaults", None), dict) and hasattr(part, "_reductions")


def _gathers_itself(part: Any) -> bool:
    return (
        not part.sync_on_compute or part.dist_sync_fn is not None or part.process_group is not None
    )


def _state(part: Any) -> dict[str, Any]:
    return {name: getattr(part, name) for name in part._defaults}


def _put(part: Any, state: Mapping[str, Any], is_available: Any) -> None:
    for name, value in state.items():
        setattr(part, name, value)
    part.distributed_available_fn = is_available


def _not_available() -> bool:
    """Answers torchmetrics that there is nobody to gather from."""
    return False


def _merged(
    name: str, part: Any, counts: Sequence[int], states: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The states of the ranks that have taken in a batch, each reduced as the metric says."""
    taken = [rank for rank, count in enumerate(counts) if count]
    if not taken:
        return _state(part)
    if len(taken) == 1:  # as in one process
        return {key: _home(part, value) for key, value in states[taken[0]].items()}
    weights = [counts[rank] for rank in taken]
    found = {}
    for key, reduction in part._reductions.items():
        values = [_home(part, states[rank][key]) for rank in taken]
        if isinstance(part._defaults[key], list):
            found[key] = _of_lists(values, reduction)
        else:
            found[key] = _of_tensors(f"{name!r} (its state {key!r})", values, weights, reduction)
    return found


def _of_lists(values: Sequence[Any], reduction: Reduction) -> Any:
    entries = list(chain.from_iterable(v if isinstance(v, list) else [v] for v in values))
    return reduction(entries) if reduction is not None and entries else entries


def _of_tensors(
    what: str, values: Sequence[Tensor], weights: Sequence[int], reduction: Reduction
) -> Any:
    if len({value.shape for value in values}) > 1:
        raise ConfigurationError(
            f"ranks have states of other shapes in the metric {what}: they can't be put together",
            expected="a tensor of the same shape on every rank, or a list of tensors",
            received=", ".join(str(tuple(value.shape)) for value in values),
            remedy="keep it as a list: `self.add_state(name, default=[], dist_reduce_fx='cat')`",
            option="metrics",
        )
    stacked = torch.stack(list(values))
    if getattr(reduction, "__name__", "") == "dim_zero_mean" and len(set(weights)) > 1:
        shares = torch.tensor(weights, dtype=stacked.dtype, device=stacked.device)
        return torch.tensordot(shares / shares.sum(), stacked, dims=1)
    return stacked if reduction is None else reduction(stacked)


def _home(part: Any, value: Any) -> Any:
    """A value that came through the host, on the device where the metric keeps such."""
    if isinstance(value, Tensor):
        return value.to(part.device)
    if isinstance(value, list) and not part.compute_on_cpu:
        return [_home(part, entry) for entry in value]
    return value
