"""Weights as plain safetensors files: written whole or not at all, under the model's own names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trackside.checkpoint.errors import (
    CheckpointWriteError,
    DamagedCheckpointError,
    UnsavableStateError,
)
from trackside.checkpoint.files import explain, flush_folder, remedy_for
from trackside.checkpoint.tensors import (
    STORED_DTYPES,
    is_same,
    local_part,
    why_not_savable,
)
from trackside.distributed.state import is_sharded, load_model_state, whole
from trackside.distributed.world import World
from trackside.errors import ConfigurationError
from trackside.lifecycle.roles import HandsWeightsOver
from trackside.machine.paths import local_path
from trackside.run import Run
from trackside.run_folder.inside import unlinked
from trackside.vocabulary.idioms import not_pickled

_COMPILED = "_orig_mod."
_WRAPPED = "module."


def final_weights(run: Run, model: str) -> Mapping[str, Any] | None:
    """The state that another callback gives a model after `on_fit_end`; None: the one it has.

    Every rank has to ask.
    """
    handing = [one for one in run.callbacks if isinstance(one, HandsWeightsOver)]
    states = [one.final_weights(run, model) for one in handing]
    return next((state for state in reversed(states) if state is not None), None)


def own_names(model: nn.Module) -> dict[str, str]:
    """Names of a model's state: as it was written by hand, and as the model has them now.

    `_orig_mod.` of `torch.compile` goes; `module.` only where the model is a parallel wrapper: a
    part of a model may be called so.
    """
    wrapped = isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel))
    return {plain_name(name, wrapped=wrapped): name for name in model.state_dict()}


def plain_name(name: str, *, wrapped: bool = False) -> str:
    """`name` without what compiling and, where `wrapped`, wrapping put into it."""
    parts = name.replace(_COMPILED, "")
    return parts.removeprefix(_WRAPPED) if wrapped else parts


def plain_names(model: nn.Module, names: Collection[str]) -> set[str]:
    """The plain names of what the model calls `names`."""
    return {plain for plain, name in own_names(model).items() if name in names}


def whole_state(
    model: nn.Module, world: World, state: Mapping[str, Any] | None = None
) -> dict[str, Tensor]:
    """The state of `model`, or `state` under its names, with plain names and whole tensors.

    Shards are gathered, one tensor at a time: with sharded models all ranks have to call.

    Returns:
        On rank 0, tensors that may still be the live ones; elsewhere nothing.

    Raises:
        UnsavableStateError: There is something in it that a safetensors file can't hold.
    """
    given = model.state_dict() if state is None else state
    found: dict[str, Tensor] = {}
    for plain, name in own_names(model).items():
        value = given[name]
        why = "no tensor" if not isinstance(value, Tensor) else why_not_savable(value)
        if why is None and value.dtype not in STORED_DTYPES:
            why = f"a tensor of {value.dtype}, which safetensors can't hold"
        if why is not None:
            raise UnsavableStateError(
                f"{plain!r} in the model's state is {why}",
                remedy="a `Checkpoint` holds such values; files for sharing hold tensors only",
            )
        gathered = whole(value) if is_sharded(value) else value
        if world.is_global_zero:
            found[plain] = value.detach() if gathered is value else gathered.cpu()
    return found


def host_copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of their own in host memory; names that shared one tensor share its copy."""
    kept, aliases = _each_once(state)
    copies = {name: tensor.to("cpu", copy=True) for name, tensor in kept.items()}
    return {**copies, **{name: copies[same] for name, same in aliases.items()}}


def write_weights(path: Path, state: Mapping[str, Tensor], run_id: str) -> None:
    """Write `state` to `path`, in the place of what was there, whole or not at all.

    Tensors that are the same memory (tied weights) are stored once; the header tells which name
    stands for which, as `safetensors.torch.save_model` writes it and `load_model` reads it.

    Raises:
        CheckpointWriteError: It could not be written; what was at `path` is as it was.
    """
    from safetensors import SafetensorError  # noqa: PLC0415 - start-up time
    from safetensors.torch import save_file  # noqa: PLC0415

    kept, aliases = _each_once(state)
    temporary = unlinked(path.with_name(f".tmp-{run_id}-{path.name}"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(kept, temporary, metadata={"format": "pt", **aliases})
        _flush(temporary)
        os.replace(temporary, path)
        flush_folder(path.parent)
    except (OSError, SafetensorError) as error:
        why = explain(error) if isinstance(error, OSError) else str(error)
        raise CheckpointWriteError(
            f"the weights could not be written to {path}: {why}",
            remedy=remedy_for(error) if isinstance(error, OSError) else None,
        ) from error
    finally:
        with contextlib.suppress(OSError):  # gone already, unless an error came before
            os.unlink(temporary)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors in a safetensors file, in host memory, tied ones under all their names.

    Raises:
        DamagedCheckpointError: There is no such file, or it isn't a safetensors file.
        ConfigurationError: It is a file of `torch.save`.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - start-up time

    path = local_path(path)
    if _is_pickled(path):
        raise ConfigurationError(
            f"{path} is a file of `torch.save`",
            expected="a safetensors file",
            remedy=not_pickled(path),
            option="source",
        )
    try:
        with safe_open(path, framework="pt") as file:
            state: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            header: dict[str, str] = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise DamagedCheckpointError(path.parent, (f"{path.name}: {error}",)) from error
    aliases = {name: kept for name, kept in header.items() if name not in state and kept in state}
    return {**state, **{name: state[kept] for name, kept in aliases.items()}}


def _is_pickled(path: Path) -> bool:
    """Whether a file is one of `torch.save`: a zip archive, or a bare pickle."""
    try:
        with path.open("rb") as file:
            begin = file.read(4)
    except OSError:  # the reader says why
        return False
    return begin == b"PK\x03\x04" or (begin[:1] == b"\x80" and begin[1:2] in (b"\x02", b"\x04"))


def load_whole(model: nn.Module, state: Mapping[str, Tensor], world: World) -> None:
    """Put whole tensors into `model`, by plain name; what `state` lacks stays as it is.

    Each rank gives the same `state`; with sharded models all have to call.
    """
    if any(is_sharded(value) for value in model.state_dict().values()):
        mine = state if world.is_global_zero else {}
        load_model_state(model, mine, whole=True, strict=False)
        return
    names = own_names(model)
    model.load_state_dict({names[plain]: t for plain, t in state.items()}, strict=False)


def _each_once(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Contiguous tensors that share no memory, and for each name left out the one that stays."""
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    in_storage: dict[tuple[torch.device, int], list[str]] = {}
    for name, tensor in state.items():
        storage = tensor.device, local_part(tensor).untyped_storage().data_ptr()
        neighbours = in_storage.setdefault(storage, [])
        same = next((other for other in neighbours if is_same(tensor, state[other])), None)
        if same is not None:
            aliases[name] = same
            continue
        # A view of what another name holds is a separate tensor in the file.
        kept[name] = (tensor.clone() if neighbours else tensor).contiguous()
        neighbours.append(name)
    return kept, aliases


def _flush(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
