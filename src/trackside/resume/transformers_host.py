"""Exact resume inside the Trainer of transformers: a callback, and the loader that it gives."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from trackside.checkpoint.reader import Checkpoint
from trackside.errors import UsageError
from trackside.resume.clock import SaveClock
from trackside.resume.custody import Custody
from trackside.resume.loader import KeptLoader
from trackside.run_folder.inside import replace_inside
from trackside.schedule import Schedule

STATE = "transformers"
"""Key of the trainer's own state in a checkpoint."""


def in_transformers(
    trainer: Any,
    directory: str | Path,
    *,
    every: Schedule | str = "100 steps",
    keep_last: int | None = 2,
) -> TransformersKeeper:
    """Let a `transformers.Trainer` save its whole run, and go on bitwise, mid-epoch.

    Make it with `save_strategy="no"`: these checkpoints take their place.

    Args:
        trainer: The trainer, which trains in one process.
        directory: The folder of the run; the same again goes on with it.
        every: When to save. A checkpoint is made when the trainer asks for the batch after.
        keep_last: How many of the newest checkpoints stay; None keeps all.

    Returns:
        Its `train()` is that of the trainer, from the newest checkpoint on.

    Raises:
        UsageError: The trainer is one of several, or shards its model.

    Example:
        >>> kept = resume.in_transformers(trainer, "runs/mine", every="100 steps")
        >>> kept.train()
    """
    if trainer.args.world_size > 1 or trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
        raise UsageError(
            "exact resume inside transformers is for one process that has the whole model",
            remedy="train with `trackside.Trainer` on several ranks",
        )
    keeper = TransformersKeeper(trainer, Custody(directory, keep_last=keep_last), SaveClock(every))
    base = import_module("transformers").TrainerCallback
    kind = type("Kept", (_Kept, base), {})
    trainer.add_callback(kind(keeper))
    trainer.get_train_dataloader = keeper.loader_from(trainer.get_train_dataloader)
    return keeper


class TransformersKeeper:
    """The custody of the run of one trainer; see `in_transformers`."""

    def __init__(self, trainer: Any, custody: Custody, clock: SaveClock) -> None:
        self._trainer = trainer
        self.custody = custody
        self._clock = clock
        self._loader: KeptLoader | None = None
        self._saved_at = -1
        self.resumed: Checkpoint | None = None
        """The checkpoint that the run went on from."""

    def train(self, **options: Any) -> Any:
        """Train from the newest checkpoint on, or from the start; as `trainer.train`.

        Args:
            options: Those of `trainer.train`, without `resume_from_checkpoint`.
        """
        self.resumed = self.custody.newest()
        self._saved_at = -1
        folder = None if self.resumed is None else self._as_its_own(self.resumed)
        try:
            return self._trainer.train(resume_from_checkpoint=folder, **options)
        finally:
            if self._loader is not None:
                self._loader.end()
            self.custody.end()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def loader_from(self, former: Any) -> Any:
        """The trainer's `get_train_dataloader`, whose loader keeps its position."""

        def get_train_dataloader() -> DataLoader[Any]:
            self._loader = KeptLoader(_plain(former()), self._between)
            return _Passes(self._loader)

        return get_train_dataloader

    def begin(self) -> None:
        """Training begins: restore what the trainer does not restore itself."""
        trainer = self._trainer
        if self.resumed is not None:
            kept = self.resumed.state()[STATE]
            trainer.model.load_state_dict(kept["model"])
            trainer.optimizer.load_state_dict(kept["optimizer"])
            trainer.lr_scheduler.load_state_dict(kept["scheduler"])
            if kept["scaler"] is not None:
                trainer.accelerator.scaler.load_state_dict(kept["scaler"])
            if self._loader is not None:
                self._loader.load_state_dict(kept["loader"])
        self.custody.begin({"model": trainer.model}, self.resumed)
        self._clock.start(trainer.state.global_step, self._epochs())

    def end(self) -> None:
        """Training is over: save the end, and wait until it is written."""
        if self._trainer.state.global_step != self._saved_at:
            self._save("the end of training")
        self.custody.settle()

    def _between(self) -> None:
        if self._clock.is_due(self._trainer.state.global_step, self._epochs()):
            self._save("due")

    def _epochs(self) -> int:
        return 0 if self._loader is None else self._loader.position[0]

    def _save(self, reason: str) -> None:
        trainer, loader = self._trainer, self._loader
        if loader is None:
            raise UsageError("the trainer trains on another loader than its own")
        step = self._saved_at = trainer.state.global_step
        scaler = trainer.accelerator.scaler
        state = {
            "model": trainer.model.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "scheduler": trainer.lr_scheduler.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "loader": loader.state_dict(),
            "trainer": _state_of(trainer),
        }
        self.custody.save(step, {"model": trainer.model}, {STATE: state}, {}, reason)

    def _as_its_own(self, found: Checkpoint) -> str:
        """A folder from which the trainer learns its counters, with the weights it asks for."""
        from safetensors.torch import save_model  # noqa: PLC0415 - a run that begins needs it not

        state = found.state()
        if STATE not in state:
            raise UsageError(
                f"{found.path} is not a checkpoint of transformers",
                expected="one that `resume.in_transformers` has saved",
            )
        kept, folder = state[STATE], self.custody.directory / "going-on"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self._trainer.model.load_state_dict(kept["model"])
        save_model(self._trainer.model, str(folder / "model.safetensors"))
        replace_inside(folder, "trainer_state.json", json.dumps(kept["trainer"]))
        return str(folder)


class _Kept:
    """The callback; that of transformers comes with it."""

    def __init__(self, keeper: TransformersKeeper) -> None:
        self._keeper = keeper

    def on_train_begin(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """See `TransformersKeeper.begin`."""
        self._keeper.begin()

    def on_train_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """See `TransformersKeeper.end`."""
        self._keeper.end()


class _Batches(IterableDataset[Any]):
    """The batches of a loader as a data set; those that the trainer will skip are not loaded."""

    def __init__(self, loader: KeptLoader) -> None:
        self._loader = loader

    def __len__(self) -> int:
        """Samples, where the data says it: the trainer counts them."""
        try:
            return len(self._loader.dataset)
        except TypeError:
            return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        _, done = self._loader.position
        resumed = self._loader.is_resumed
        batches = iter(self._loader)
        for _ in range(done if resumed else 0):
            yield None
        yield from batches


class _Passes(DataLoader[Any]):
    """A loader of torch, as the trainer expects one, over batches that are made already."""

    def __init__(self, loader: KeptLoader) -> None:
        # Its own generator: otherwise a pass draws a seed that nothing uses from that of dropout.
        own = torch.Generator()
        super().__init__(_Batches(loader), batch_size=None, collate_fn=_as_it_is, generator=own)
        self._kept = loader

    def __len__(self) -> int:
        return len(self._kept)


def _as_it_is(batch: Any) -> Any:
    return batch


def _plain(loader: Any) -> DataLoader[Any]:
    """The loader without what accelerate puts around it: it would fetch one batch ahead."""
    sampler = getattr(loader.batch_sampler, "sampler", None)
    if (
        sampler is not None and getattr(sampler, "generator", sampler) is None
    ):  # made in the first pass otherwise
        sampler.generator = torch.Generator()
    return DataLoader(
        loader.dataset,
        batch_sampler=loader.batch_sampler,
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )


def _state_of(trainer: Any) -> dict[str, Any]:
    """The trainer's counters and the states of its callbacks, as its own checkpoints have them."""
    kind = import_module("transformers.trainer_callback").ExportableState
    states: dict[str, Any] = {}
    for one in [*trainer.callback_handler.callbacks, trainer.control]:
        if isinstance(one, kind):
            name = type(one).__name__
            before = states.get(name)
            states[name] = one.state() if before is None else [*_listed(before), one.state()]
    state = {**dataclasses.asdict(trainer.state), "stateful_callbacks": states}
    made: dict[str, Any] = json.loads(json.dumps(state))
    return made


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
