"""One file with the state of a run, for callbacks that save and load by path.

A safetensors file, whatever its name ends in: weights by name under `model.`, for any reader of the
format; what isn't a tensor (counters, groups of optimizers, states of callbacks) as JSON in its
metadata. Nothing is pickled. To go on exactly after a crash, use the callback `Checkpoint` instead:
its checkpoints also hold the position in the data and the random generators.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from trackside.checkpoint.files import replace_file
from trackside.checkpoint.joining import join
from trackside.checkpoint.splitting import split
from trackside.checkpoint.tensors import STAND_INS
from trackside.errors import CheckpointError
from trackside.machine.paths import local_path
from trackside.run import Run

KEY = "trackside.dialects"
"""Under which the metadata of the file has what isn't a tensor."""


def write(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write `state` whole or not at all, in the place of an older file of that name.

    Raises:
        UnsavableStateError: Something in it is neither a tensor nor JSON-like; names it.
    """
    taken = split(dict(state))
    tensors = {key: _storable(tensor) for key, tensor in taken.tensors.items()}
    target = local_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    data = save(tensors, metadata={KEY: json.dumps(taken.skeleton)})
    replace_file(target, data, target.with_name(f".tmp-{os.getpid()}-{target.name}"))


def read(path: str | Path) -> dict[str, Any]:
    """The state that `write` wrote.

    Raises:
        CheckpointError: It isn't such a file.
    """
    path = local_path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no file {str(path)!r}", expected="one that was saved here")
    try:
        with safe_open(str(path), framework="pt") as file:
            skeleton = json.loads((file.metadata() or {})[KEY])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            state: dict[str, Any] = join(skeleton, tensors)
    except Exception as error:
        raise CheckpointError(
            f"{str(path)!r} isn't a file that a callback saved here",
            expected="a safetensors file with the state of a run",
            received=f"{type(error).__name__}: {error}",
            remedy="a checkpoint of the other framework has to be converted by that framework",
        ) from error
    return state


def state_of(
    run: Run, model: nn.Module, *, optimizer: bool = True, scheduler: bool = True
) -> dict[str, Any]:
    """Weights of `model` under their own names and, beside them, what else the run can give back.

    Args:
        run: The run.
        model: Whose weights are saved: the run's, or an average of them.
        optimizer: Whether the states of all optimizers are saved too.
        scheduler: Whether those of all schedulers are.
    """
    state: dict[str, Any] = {"model": model.state_dict(), "progress": run.progress.state_dict()}
    if optimizer:
        state["optimizers"] = {name: one.state_dict() for name, one in run.optimizers.items()}
    if scheduler:
        state["schedulers"] = {name: one.state_dict() for name, one in run.schedulers.items()}
    return state


def under_their_keys(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state that was read, also under the keys that their files of `torch.save` have."""
    optimizer = next(iter(state.get("optimizers", {}).values()), None)
    scheduler = next(iter(state.get("schedulers", {}).values()), None)
    theirs = {
        "model_state_dict": state["model"],
        "optimizer_state_dict": optimizer,
        "scheduler_state_dict": scheduler,
    }
    return {**state, **{key: value for key, value in theirs.items() if value is not None}}


def restore(
    run: Run, state: Mapping[str, Any], *, optimizer: bool = True, scheduler: bool = True
) -> None:
    """Put weights, optimizers and schedulers of a run back to `state`, as far as it has them."""
    run.model.load_state_dict(state["model"])
    parts = [("optimizers", run.optimizers, optimizer), ("schedulers", run.schedulers, scheduler)]
    for name, ours, wanted in parts:
        for key, one in state.get(name, {}).items() if wanted else ():
            if key in ours:
                ours[key].load_state_dict(one)


def save_on_rank_zero(run: Run, path: str | Path, state: Mapping[str, Any]) -> None:
    """Write `state` on rank 0; the others have the same, and go on without waiting.

    Callbacks ask for the rank themselves or don't: both have to work.
    """
    if run.world.is_global_zero:
        write(path, state)


def _storable(tensor: Tensor) -> Tensor:
    # A copy always: safetensors refuses tensors that share memory, as views of one buffer do.
    tensor = torch.empty_like(tensor, device="cpu", memory_format=torch.contiguous_format).copy_(
        tensor.detach()
    )
    if tensor.dtype.is_complex:
        return torch.view_as_real(tensor)
    stand_in = STAND_INS.get(tensor.dtype)
    return tensor if stand_in is None else tensor.view(stand_in)
