"""The place in the training data, where a run goes on with another number of ranks.

Data that is shared out goes on at the same sample: what is taken is the batches of one process.
Each rank's own data does so where it can be divided again; otherwise the epoch begins again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from trackside.data.loaders import batch_size_of
from trackside.data.source import DataSource
from trackside.loop.state import TRAIN, Training

if TYPE_CHECKING:
    from trackside.checkpoint import Checkpoint

logger = logging.getLogger("trackside")


@runtime_checkable
class DividesItself(Protocol):
    """A loader whose state can be divided among another number of ranks."""

    def load_rank_states(self, states: list[Any]) -> None:
        """Go on from the states that all ranks had, in order of ranks; called on each rank."""


def take_place(
    training: Training, checkpoint: Checkpoint, shared: dict[str, Any], own: dict[str, Any]
) -> int | None:
    """Prepare what is restored for another number of ranks, and report it.

    Args:
        training: To be restored.
        checkpoint: Saved by another number of ranks.
        shared: The state that all ranks share; changed where the epoch begins again.
        own: The state of this rank; its place in the data is changed.

    Returns:
        Samples of the pass that each rank has taken by now, where that can't be seen from batches
        done; else None.
    """
    source: DataSource = training.setup.sources[TRAIN]
    saved_by, ranks = checkpoint.manifest.world_size, training.run.world.size
    rank = training.run.world.rank
    states = [checkpoint.rank_state(rank)["data"] for rank in range(saved_by)]
    saved = states[0].get("sharing", source.sharing)
    taken = (
        _taken(source, shared, saved_by, ranks) if saved == source.sharing == "strided" else None
    )
    inside = shared["loop"]["phase"] == "training"
    where = "it goes on at the same sample, not bitwise the same"
    if not inside and source.sharing == "own":
        own["data"], where = None, "it goes on with the next epoch"
    elif not inside or saved == source.sharing == "shared" or taken is not None:
        own["data"] = states[rank % saved_by]
    elif isinstance(source.loader, DividesItself) and all("loader" in one for one in states):
        source.loader.load_rank_states([one["loader"] for one in states])
        own["data"] = {**states[0], "loader": None}
        where = "its data has divided what is left of the epoch"
    else:
        where = _begin_again(source, shared, own)
    logger.warning("saved on %d ranks, resumed on %d: %s", saved_by, ranks, where)
    return taken if inside else None


def keep_place(training: Training, taken: int | None) -> None:
    """Count the batches done of the epoch under way in batches of this number of ranks."""
    size = batch_size_of(training.setup.sources[TRAIN].loader)
    if taken is None or size is None:
        return
    whole, rest = divmod(taken, size)
    progress = training.run.progress
    progress.batches_before_epoch = progress.batches_completed - whole
    training.position.begun = (whole, rest)


def _taken(source: DataSource, shared: Mapping[str, Any], saved_by: int, ranks: int) -> int | None:
    """Samples that each of these ranks would have taken by now; None where that isn't whole.

    Rank r of R takes the samples r, r + R, r + 2R, ... of one order: together, ranks have taken the
    beginning of it.
    """
    data = (shared["loop"].get("built") or {}).get("data", {})
    size, progress = batch_size_of(source.loader), shared["progress"]
    if size is None or data.get("batch_size") != size:
        return None
    done = progress["batches_completed"] - progress["batches_before_epoch"]
    number, into = data.get("begun", (0, 0))
    of_each = done * size + (into if number == done else 0)
    taken, rest = divmod(of_each * saved_by, ranks)
    return None if rest else taken


def _begin_again(source: DataSource, shared: dict[str, Any], own: dict[str, Any]) -> str:
    """Let the epoch under way begin again; returns the words for it."""
    progress = shared["progress"]
    again = progress["samples_completed"] - progress["samples_before_epoch"]
    shared["loop"] = {**shared["loop"], "phase": "between"}
    own["data"] = None
    own["log"] = {
        name: {**mean, "epoch": None} if name.startswith("train/") else mean
        for name, mean in own["log"].items()
    }
    return (
        f"each rank had its own part of the data named {source.name!r}, which can't be divided "
        f"again. Epoch {progress['epochs_completed'] + 1} begins again: the {again} samples of it "
        "that were trained on come once more. To go on exactly, resume on as many ranks, give data "
        "that Trackside shares out, or a loader with `load_rank_states(states)`"
    )
