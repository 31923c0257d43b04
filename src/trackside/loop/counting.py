"""How many samples a batch has: as the step says, else the sampler, else the batch itself.

Tokens are counted where the step says how many there are.
"""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor

from trackside.data.batches import Batch, describe
from trackside.data.source import DataSource
from trackside.distributed.sharding import Share
from trackside.errors import UsageError
from trackside.loop.state import Training
from trackside.progress import is_count

UNKNOWN = float("nan")
"""Samples of a batch that only its step can count; what is logged meanwhile waits."""


def settle(
    training: Training, source: DataSource, batch: Batch, known: int | None, said: object
) -> int:
    """The samples of a batch whose step has returned; what the step logged gets its weight.

    Args:
        training: The run.
        source: Where the batch is from.
        batch: The batch.
        known: What the sampler or the batch tells, or None.
        said: What the step returned as `samples`, or None.

    Raises:
        UsageError: The step said something that isn't a number of samples.
    """
    if said is not None:
        if not is_count(said, at_least=0):
            raise UsageError(
                f"the step returned samples={said!r}",
                expected="how many samples the batch has: a whole number",
                remedy="return `Output(loss, ..., samples=len(...))`",
            )
        samples: int = said  # type: ignore[assignment]
    elif known is None:
        samples = 1
        _tell(training, source, batch)
    else:
        samples = known
    training.setup.log.settle(samples)
    training.run.batch_samples = samples
    return samples


def count_tokens(training: Training, said: object, share: Share[Any] | None = None) -> None:
    """Count the tokens of a training batch; on several ranks a collective.

    Args:
        training: The run.
        said: What the step returned as `tokens`; on all ranks, or on none.
        share: The part of this rank in the batch of all ranks.

    Raises:
        UsageError: The step said something else than a number of tokens.
    """
    tokens = said
    if isinstance(said, Tensor) and said.numel() == 1 and not said.is_floating_point():
        tokens = int(said)
    if not is_count(tokens):
        raise UsageError(
            f"the step returned tokens={said!r}",
            expected="how many tokens the batch has: a whole number, or a tensor of one",
            remedy="return `Output(loss, ..., tokens=int(mask.sum()))`",
        )
    if share is not None and share.samples == 0:
        tokens = 0  # a filler
    if training.setup.replicas is not None:
        tokens = int(training.run.world.all_reduce(tokens, "sum"))  # type: ignore[call-overload]
    training.run.progress.tokens_completed += tokens  # type: ignore[operator]


def _tell(training: Training, source: DataSource, batch: Batch) -> None:
    """Say once for each data set that nobody knows how many samples its batches have."""
    reported = training.setup.uncounted
    if source.name not in reported:
        reported.add(source.name)
        warnings.warn(
            f"nobody says how many samples a batch of the data named {source.name!r} has "
            f"({describe(batch)}): each batch counts as one sample, and alike in means. To fix: "
            "return `Output(loss, ..., samples=n)` from the step, or give a DataLoader, whose "
            "sampler tells",
            stacklevel=2,
        )
