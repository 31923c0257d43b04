"""States of models under the user's own names, sharded or whole, without pickle.

`module.` of DDP and `_orig_mod.` of torch.compile are not part of the names, so that what one
strategy saved, any other loads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from trackside.distributed.parallel import Passes


def model_state(model: nn.Module, *, whole: bool = False) -> dict[str, Tensor]:
    """The model's state by name.

    Args:
        model: As it is trained: wrapped, sharded, compiled.
        whole: Gather sharded tensors on the CPU of rank 0 (a collective; the other ranks get an
            empty dict). Otherwise each rank has its parts, as `DTensor`s.
    """
    from torch.distributed.checkpoint import state_dict as dcp  # noqa: PLC0415 (takes a second)

    options = dcp.StateDictOptions(full_state_dict=whole, cpu_offload=whole)
    state = dcp.get_model_state_dict(_inside(model), options=options)
    return cast("dict[str, Tensor]", state)


def load_model_state(
    model: nn.Module, state: Mapping[str, Any], *, whole: bool = False, strict: bool = True
) -> None:
    """Put a state back.

    Args:
        model: As it is trained.
        state: Tensors by name, sharded as the model is.
        whole: `state` holds whole tensors, on rank 0 only; the others get their parts from there.
        strict: Names must be exactly the model's.
    """
    from torch.distributed.checkpoint import state_dict as dcp  # noqa: PLC0415

    options = dcp.StateDictOptions(full_state_dict=whole, broadcast_from_rank0=whole, strict=strict)
    dcp.set_model_state_dict(_inside(model), dict(state), options=options)


def _inside(model: nn.Module) -> nn.Module:
    """The user's own module inside of what DDP wraps."""
    wrapped = getattr(model, "module", None)
    return wrapped.model if isinstance(wrapped, Passes) else model


_PLAIN = (Tensor, nn.Parameter, nn.Buffer)


def is_sharded(tensor: Tensor) -> bool:
    """Whether `tensor` is a DTensor, of which each rank holds a part."""
    # Its class by its marks: importing torch.distributed.tensor takes long.
    return type(tensor) not in _PLAIN and hasattr(tensor, "device_mesh")


def local_part(tensor: Tensor) -> Tensor:
    """The part of `tensor` that this rank holds; the memory is shared with it."""
    sharded: Any = tensor
    part: Tensor = sharded.to_local() if is_sharded(tensor) else tensor
    return part.detach()


def local_parts(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The part of each tensor that this rank holds; the memory is shared with it."""
    # Asked for every tensor in every step: a plain one costs a look at its type.
    parts: list[Any] = list(tensors)
    return [t.to_local() if type(t) not in _PLAIN and is_sharded(t) else t for t in parts]


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, without its gradient's history; a collective where ranks hold parts."""
    sharded: Any = tensor
    gathered: Tensor = sharded.full_tensor() if is_sharded(tensor) else tensor
    return gathered.detach()


def placement(
    models: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
) -> Callable[[str, tuple[int, ...]], Tensor | None] | None:
    """A function that finds the DTensor whose placement a saved tensor gets, by path and shape.

    A slot of an optimizer (`optimizers.adam.state.0.exp_avg`) is placed as its parameter; anything
    whose path ends with the name of a model's tensor (`models.model.0.weight`,
    `callbacks.ema.averages.0.9.model.0.weight`), as that tensor. The paths are those of a
    checkpoint, however it was saved: one process, DDP, or FSDP on another number of ranks.

    Returns:
        A function that returns None for what is whole; None when nothing is sharded.
    """
    tensors: dict[str, Tensor] = {
        f"{name}.{key}": tensor
        for name, model in models.items()
        for key, tensor in chain(
            model.named_parameters(remove_duplicate=False), model.named_buffers()
        )
        if is_sharded(tensor)
    }
    if not tensors:
        return None
    for name, optimizer in optimizers.items():
        parameters = chain.from_iterable(group["params"] for group in optimizer.param_groups)
        tensors |= {f"optimizers.{name}.state.{i}": p for i, p in enumerate(parameters)}

    def placed_as(path: str, shape: tuple[int, ...]) -> Tensor | None:
        is_slot = path.startswith("optimizers.")
        names = _heads(path) if is_slot else _tails(path)
        found = next((tensors[name] for name in names if name in tensors), None)
        if found is None or not is_sharded(found) or tuple(found.shape) != shape:
            return None
        return found

    return placed_as


def _heads(path: str) -> Iterator[str]:
    while path:
        path = path.rpartition(".")[0]
        yield path


def _tails(path: str) -> Iterator[str]:
    while path:
        path = path.partition(".")[2]
        yield path
