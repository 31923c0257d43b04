"""How many samples a batch has, where all its parts agree; nothing is guessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from trackside.data.batches import Batch, describe, fields_of
from trackside.errors import DataError

_SEQUENCES = frozenset((tuple, list))
_PAIR = (Tensor, Tensor)


def counted(batch: Batch) -> int | None:
    """How many samples a batch has, as far as its structure says.

    Tensors have samples along their first dimension, lists of numbers or texts one entry per
    sample. A list inside of the batch may be one entry per sample or several parts: what agrees
    with the rest is meant. Values without dimensions say nothing.

    Returns:
        The number on which all parts agree; None where they disagree, leave a choice, or say
        nothing.
    """
    if type(batch) in _SEQUENCES and tuple(map(type, batch)) == _PAIR:
        first, second = batch  # the common case, asked for in every step
        try:
            samples: int = first.shape[0]
            return samples if samples == second.shape[0] else None
        except IndexError:  # one of them has no dimension, and says nothing
            pass
    possible = _agreed(batch, outermost=True)
    return next(iter(possible)) if possible is not None and len(possible) == 1 else None


def samples_in(batch: Batch) -> int:
    """How many samples a batch has, as `counted` says.

    Raises:
        DataError: Its parts don't agree, or say nothing.
    """
    samples = counted(batch)
    if samples is None:
        raise DataError(
            "how many samples the batch has isn't clear from its parts",
            expected="a tensor, or parts that agree in their first dimension",
            received=describe(batch),
            remedy="put the samples first in every part: give the loader a `collate_fn`",
        )
    return samples


def _agreed(part: Any, *, outermost: bool = False) -> set[int] | None:
    """The numbers of samples that a part may have; None where it says nothing."""
    if isinstance(part, Tensor) or (hasattr(part, "shape") and hasattr(part, "dtype")):
        return {int(part.shape[0])} if len(part.shape) else None
    if isinstance(part, PackedSequence):
        return {int(part.batch_sizes[0])}
    if isinstance(part, Mapping):
        return _common(part.values())
    if names := fields_of(part):
        return _common(getattr(part, name) for name in names)
    if not isinstance(part, (tuple, list)):
        return None
    if all(isinstance(entry, (str, bytes, bool, int, float)) for entry in part):
        return {len(part)}
    inside = _common(part)
    if hasattr(part, "_fields") or (outermost and not _one_of_each(part)):
        return inside
    return {len(part)} | (inside or set())


def _one_of_each(batch: tuple[Any, ...] | list[Any]) -> bool:
    """Whether a batch may be a list of samples: mappings, pairs or objects, but no tensors."""
    return not isinstance(batch, tuple) and not any(isinstance(part, Tensor) for part in batch)


def _common(parts: Iterable[Any]) -> set[int] | None:
    """Counts that every part allows; None where no part says any."""
    said = [numbers for part in parts if (numbers := _agreed(part)) is not None]
    return set.intersection(*said) if said else None
