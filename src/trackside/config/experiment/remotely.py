"""Kept runs whose folder is an address, or that are uploaded to one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from trackside.checkpoint import Checkpoint
from trackside.checkpoint.saver import saver_among
from trackside.config.experiment.experiment import Experiment
from trackside.config.experiment.kept import (
    KeptRun,
    check_overrides,
    checkpoint_of,
    load_kept,
    runs_in,
)
from trackside.config.experiment.programs import KeptProgram
from trackside.config.text.layers import kept_override
from trackside.errors import TracksideError
from trackside.machine.paths import local_path
from trackside.remote.address import Address, address_in
from trackside.remote.copies import checkpoint_in, described, runs_below
from trackside.remote.mirror import recorded_address
from trackside.trainer.trainer import Trainer

Which = str | int | Path


def load_to_go_on(run: str, overrides: Iterable[str]) -> Experiment | KeptProgram:
    """The experiment of a run that goes on, in its folder and in its remote one, where it has one.

    Args:
        run: The run's folder, or the address of its remote folder.
        overrides: `key=value` and `~key`, on top of its configuration.

    Raises:
        UsageError: No run lies there; or an override would have no effect.
        ExperimentError: Its configuration doesn't fit any more.
    """
    address, mirror = address_in(run, "run"), None
    if address is None:
        folder = local_path(run, "run")
        recorded = recorded_address(folder)
        if recorded is not None:
            address, mirror = Address(recorded, "run"), folder
    else:
        folder = described(address)
    overrides = list(overrides)
    check_overrides(folder, overrides)
    found = load_kept(folder, overrides, address=address, mirror=mirror)
    if isinstance(found, KeptProgram):  # it knows which of its arguments are secret
        return found
    given = [one for one in overrides if not one.startswith("trainer.resume=")]
    kept = tuple(kept_override(one, found.document) for one in given)
    return replace(found, overrides=kept)


def local_copy(run: str | os.PathLike[str]) -> tuple[Path, Address | None]:
    """The folder of a run on this machine, and its address where `run` is one."""
    address = address_in(os.fspath(run), "run")
    return (local_path(run, "run") if address is None else described(address)), address


def brought(address: Address | None, folder: Path, trainer: Trainer | None, which: Which) -> Which:
    """The checkpoint that `which` means, brought here where the run is a remote one."""
    if address is None:
        return which
    saver = None if trainer is None else saver_among(trainer.callbacks)
    found = checkpoint_in(address, folder, which, None if saver is None else saver.retention)
    return which if found is None else found


def load_with_checkpoint(
    run: str, overrides: Iterable[str], which: str
) -> tuple[Experiment | KeptProgram, Checkpoint, Path]:
    """The experiment of a run that is looked at, one of its checkpoints, and its folder here.

    Args:
        run: The run's folder, or the address of its remote folder.
        overrides: `key=value` and `~key`, on top of its configuration.
        which: `auto` for the newest that is whole, `best`, a step, or a path.

    Raises:
        UsageError: No run lies there.
        CheckpointError: It has no such checkpoint.
    """
    folder, address = local_copy(run)
    experiment = load_kept(folder, overrides)
    trainer = experiment.trainer()
    found = checkpoint_of(trainer, folder, brought(address, folder, trainer, which))
    return experiment, found, folder


def runs_at(place: str) -> list[KeptRun]:
    """The runs below a folder or an address, oldest first; remote ones by their address."""
    address = address_in(place, "folder")
    if address is None:
        return runs_in(place)
    found = []
    for one in runs_below(address):
        try:
            folder = described(one)
        except TracksideError as error:
            found.append(KeptRun(str(one), "unknown", problem=error.message))
            continue
        kept = next((kept for kept in runs_in(folder) if kept.folder == folder), None)
        if kept is not None:
            found.append(replace(kept, folder=str(one)))
    return sorted(found, key=lambda run: (run.started or "", str(run.folder)))
