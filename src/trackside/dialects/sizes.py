"""How many samples a batch has: of this rank, and over all of them."""

from __future__ import annotations

from trackside.dialects.view import so_far
from trackside.run import Run


def loader_batch_size(run: Run, name: str | None) -> int | None:
    """Samples of a batch as the loader of the data named `name` makes them; None if unknown."""
    source = so_far(run, "data").get(name or "")
    size = getattr(source.loader, "batch_size", None) if source is not None else None
    return size if isinstance(size, int) else None


def rank_batch_size(run: Run, name: str | None) -> int | None:
    """Samples of a batch as a step of this rank gets it.

    A training batch is shared out over the ranks; of other data each rank gets whole batches.
    """
    size = loader_batch_size(run, name)
    if size is None or name != "train":
        return size
    return -(-size // run.world.size)


def total_batch_size(run: Run, name: str | None) -> int | None:
    """Samples that all ranks take at once: those of a step, or of a round of an evaluation."""
    size = loader_batch_size(run, name)
    if size is None:
        return None
    return size * (run.accumulate if name == "train" else run.world.size)


def effective_batch_size(run: Run) -> int | None:
    """Samples of an update, over all ranks; None if unknown."""
    return total_batch_size(run, "train")
