"""Passes of Noether's callbacks over a data set: dealt out to the ranks, collated in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from trackside.data.batches import move
from trackside.errors import DataError, UnknownDataError
from trackside.machine import randomness
from trackside.run import Run
from trackside.step.evaluation import evaluating, in_order


@dataclass(kw_only=True)
class SamplerIntervalConfig:
    """The way a callback passes over its data; by default, as evaluations do.

    Args:
        sampler: Indices of the items, in order; batches of them are dealt out to the ranks. None:
            the data as it is.
        batch_size: Items of a batch; None takes that of the data.
        pipeline: Makes a batch of a list of items; None takes that of the data.
        every_n_epochs: As in the configuration of the callback, which decides.
        every_n_updates: As in the configuration of the callback, which decides.
        every_n_samples: As in the configuration of the callback, which decides.
        dataset_key: Name of the data; None takes that of the callback's configuration.
        max_size: Only the first so many items of the data.
    """

    sampler: Iterable[int] | None = None
    batch_size: int | None = None
    pipeline: Callable[[list[Any]], Any] | None = None
    every_n_epochs: int | None = None
    every_n_updates: int | None = None
    every_n_samples: int | None = None
    dataset_key: str | None = None
    max_size: int | None = None

    @property
    def takes_the_data_as_it_is(self) -> bool:
        """Whether it asks for nothing but the batches that evaluations have."""
        parts = (self.sampler, self.batch_size, self.pipeline, self.max_size)
        return all(part is None for part in parts)


def sampling_of(callback: Any) -> SamplerIntervalConfig:
    """The way a callback passes over its data, by its method or by its attribute."""
    register = getattr(callback, "register_sampler_config", None)
    found: Any = register() if register else getattr(callback, "sampler_config", None)
    if found is None:
        return SamplerIntervalConfig()
    names = [field.name for field in fields(SamplerIntervalConfig)]
    return SamplerIntervalConfig(**{name: getattr(found, name, None) for name in names})


def source_of(run: Run, key: str) -> Any:
    """The data named `key`. Raises `ConfigurationError` when no data has that name."""
    if key not in run.data:
        raise UnknownDataError.among(
            run.data, key, "that a callback asks for", option="dataset_key"
        )
    return run.data[key]


def dataset_of(run: Run, key: str) -> Any:
    """The data set behind the data named `key`.

    Raises:
        ConfigurationError: There is no data of that name.
        DataError: It has no items that can be picked by index.
    """
    source = source_of(run, key)
    dataset = getattr(source.loader, "dataset", None)
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DataError(
            f"items of the data named {key!r} can't be picked",
            expected="a map-style data set, or a DataLoader of one",
            received=type(source.data).__name__,
        )
    return dataset


def pass_over(
    run: Run, key: str, sampling: SamplerIntervalConfig, process: Callable[[Any], Any]
) -> Any:
    """Pass over a data set, dealt out to the ranks, and collate what `process` returned.

    Each item counts once. The model evaluates meanwhile; modes and random generators are as they
    were afterwards.

    Returns:
        On every rank, for the whole data set and in its order: tensors joined along their first
        dimension, scalars and numbers stacked, dicts, tuples and lists part by part, None where
        nothing was returned, other values as a list over batches.
    """
    kept: list[Any] = []
    with evaluating(run.models), _dealt(run, key, sampling) as batches:
        for batch, counts in batches:
            batch = move(batch, run.device)
            if counts:
                kept.append(_plain(process(batch)))
            else:  # the others have a batch left: take part in it, keep nothing
                with run.discarding():
                    process(batch)
    kept = in_order(run, kept, split=source_of(run, key).split.is_split)
    if not kept:
        raise DataError(f"the data named {key!r} is empty", expected="at least one item")
    return _collate(kept, run.device)


@contextmanager
def _dealt(
    run: Run, key: str, sampling: SamplerIntervalConfig
) -> Iterator[Iterator[tuple[Any, bool]]]:
    """The batches of this rank, and whether each counts or fills up a last round."""
    source = source_of(run, key)
    if sampling.takes_the_data_as_it_is:
        with source.aside() as batches:
            yield ((batch.data, batch.origin.counts) for batch in batches)
        return
    dataset, loader, size, rank = (
        dataset_of(run, key),
        source.loader,
        run.world.size,
        run.world.rank,
    )
    indices = list(range(len(dataset)) if sampling.sampler is None else sampling.sampler)
    indices = indices[: sampling.max_size]
    step = sampling.batch_size or loader.batch_size or 1
    groups = [indices[start : start + step] for start in range(0, len(indices), step)]
    own = [turn * size + rank for turn in range(-(-len(groups) // size))]
    batches = DataLoader(
        dataset,
        batch_sampler=[groups[min(number, len(groups) - 1)] for number in own],
        collate_fn=sampling.pipeline or getattr(loader, "collate_fn", None),
        num_workers=getattr(loader, "num_workers", 0),
        worker_init_fn=getattr(loader, "worker_init_fn", None),
        multiprocessing_context=getattr(loader, "multiprocessing_context", None),
    )
    with randomness.preserved():
        yield ((b, number < len(groups)) for b, number in zip(batches, own, strict=True))


def _plain(result: Any) -> Any:
    """`result` as what ranks can send each other: on the host, kinds of sequences marked."""
    if isinstance(result, Tensor):
        return result.detach().cpu()
    if isinstance(result, Mapping):
        return {"dict": {str(name): _plain(value) for name, value in result.items()}}
    if isinstance(result, (tuple, list)):
        kind = "tuple" if isinstance(result, tuple) else "list"
        return {kind: [_plain(value) for value in result]}
    return result


def _collate(results: list[Any], device: torch.device) -> Any:
    first = results[0]
    if isinstance(first, dict):
        (kind,) = first
        names = first[kind] if kind == "dict" else range(_length(results, kind))
        parts = {name: _collate([r[kind][name] for r in results], device) for name in names}
        if kind == "dict":
            return parts
        return tuple(parts.values()) if kind == "tuple" else list(parts.values())
    if first is None:
        return None
    if isinstance(first, Tensor):
        return (torch.cat(results) if first.ndim else torch.stack(results)).to(device)
    if isinstance(first, (int, float)):
        return torch.tensor(results, device=device)
    return results


def _length(results: list[Any], kind: str) -> int:
    lengths = {len(result[kind]) for result in results}
    if len(lengths) > 1:
        raise DataError(
            f"the {kind}s that `process_data` returned differ in length between batches",
            expected="as many parts for every batch: they are collated part by part",
            received=", ".join(map(str, sorted(lengths))) + " parts",
            remedy="return a tensor with the samples of the batch along its first dimension",
        )
    return lengths.pop()
