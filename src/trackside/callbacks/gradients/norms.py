"""Norms of many tensors together, of which some may be sharded; and which ones a pattern means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from trackside.distributed.state import is_sharded, whole
from trackside.errors import ConfigurationError, did_you_mean


def total_norm(tensors: Iterable[Tensor], norm_type: float = 2.0) -> Tensor:
    """The norm of all tensors as one vector, shape `()`, the same on every rank.

    Of DTensors each rank holds a part: then it is a collective, and all ranks have to call it.

    Args:
        tensors: Any number of them; the norm of none is 0.
        norm_type: Which p-norm, at least 1; `inf` is the largest absolute value.
    """
    tensors = list(tensors)
    plain = [tensor for tensor in tensors if not is_sharded(tensor)]
    sharded = [tensor for tensor in tensors if is_sharded(tensor)]
    norms = [torch.nn.utils.get_total_norm(plain, norm_type)] if plain or not sharded else []
    if sharded:
        norms.append(whole(torch.nn.utils.get_total_norm(sharded, norm_type)))
    if len(norms) == 1:
        return norms[0]
    together = torch.stack([norm.to(norms[0].device) for norm in norms])
    norm: Tensor = torch.linalg.vector_norm(together, norm_type)
    return norm


def matching(names: Iterable[str], patterns: Sequence[str]) -> dict[str, list[str]]:
    """The names that each pattern means: `encoder.*`, `*.weight`, or a name itself.

    Raises:
        ConfigurationError: A pattern means none of them.
    """
    names = list(names)
    found = {pattern: [n for n in names if fnmatchcase(n, pattern)] for pattern in patterns}
    for pattern, meant in found.items():
        if not meant:
            raise ConfigurationError(
                f"no parameter is called {pattern!r}",
                expected="a pattern such as `encoder.*` or `*.weight`",
                remedy=did_you_mean(pattern, names),
                option="patterns",
            )
    return found


def check_norm_type(norm_type: float) -> float:
    """`norm_type` itself when it is that of a norm. Raises `ConfigurationError`."""
    if not norm_type >= 1:
        raise ConfigurationError(
            f"norm_type={norm_type} is that of no norm",
            expected="a number of at least 1, or inf",
            option="norm_type",
        )
    return float(norm_type)


def norms_of(
    tensors: Mapping[str, Tensor], groups: Mapping[str, Sequence[str]], norm_type: float
) -> dict[str, Tensor]:
    """The norm of each group of names, as far as there are tensors of these names."""
    present = {
        group: [tensors[n] for n in names if n in tensors] for group, names in groups.items()
    }
    return {group: total_norm(some, norm_type) for group, some in present.items() if some}
