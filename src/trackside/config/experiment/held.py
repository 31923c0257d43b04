"""Memory and space that a run takes beside model and optimizer, said before it begins."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import DataLoader

from trackside.data.prefetch import held_ahead
from trackside.lifecycle.roles import HoldsMemory
from trackside.machine import randomness
from trackside.planning.diagnostics import Diagnostic
from trackside.run import Run
from trackside.step.memory import Held
from trackside.trainer.trainer import Trainer


def held(run: Run, trainer: Trainer, model_bytes: int, state_bytes: int) -> list[Held]:
    """All that a run holds beside its states, in the order of its callbacks.

    Args:
        run: Set up.
        trainer: Of the run.
        model_bytes: Parameters and buffers.
        state_bytes: Those and the optimizers' state.
    """
    return [*_ahead(run, trainer), *_of_callbacks(trainer, run, model_bytes, state_bytes)]


def too_little(parts: list[Held], free_bytes: int | None) -> Diagnostic | None:
    """A finding where the host has less memory left than will be held there."""
    needed = sum(one.size_bytes or 0 for one in parts if one.place != "disk")
    if free_bytes is None or needed <= free_bytes:
        return None
    return Diagnostic(
        "warning",
        "checkpoint",
        f"{needed / 1e9:.1f} GB of host memory will be held, and {free_bytes / 1e9:.1f} GB are "
        "free",
        "limit the copy of a save: `Checkpoint(memory_gigabytes=...)`",
    )


def _of_callbacks(trainer: Trainer, run: Run, model_bytes: int, state_bytes: int) -> Iterator[Held]:
    for callback in trainer.callbacks:
        if isinstance(callback, HoldsMemory):
            yield from callback.held(run, model_bytes, state_bytes)


def _ahead(run: Run, trainer: Trainer) -> Iterator[Held]:
    """Batches of training that are fetched before their step."""
    source, loader = run.data["train"], run.data["train"].loader
    workers = loader.num_workers if isinstance(loader, DataLoader) else 0
    with randomness.preserved():
        found = held_ahead(run.device, trainer.settings.prefetch_batches, source, workers=workers)
    if found.pinned_batches:
        size = None if found.batch_bytes is None else found.pinned_batches * found.batch_bytes
        what = f"{found.pinned_batches} batches on their way to the device"
        yield Held(what, "pinned host memory", size, "Settings(prefetch_batches=...)")
    if workers and isinstance(loader, DataLoader):
        count = workers * (loader.prefetch_factor or 2)
        size = None if found.batch_bytes is None else count * found.batch_bytes
        limit = "num_workers, prefetch_factor of the loader"
        yield Held(f"{count} batches that workers load ahead", "shared memory", size, limit)
