"""Memory and initial values for a sharded model that was built on the meta device."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode

from trackside.errors import ConfigurationError

_RESETS = ("reset_parameters", "_reset_parameters")  # the second: MultiheadAttention, Transformer

Make = Callable[[Tensor], Tensor]


Births = Sequence[tuple[nn.Module, str, torch.dtype]]
"""First module of each parameter, with its name there and its dtype at that time."""

_births_of: WeakKeyDictionary[nn.Module, Births] = WeakKeyDictionary()
"""Of models that were built without memory, until they get it."""


def is_without_memory(model: nn.Module) -> bool:
    """Whether `build_without_memory` made it, and `materialize` hasn't been there yet."""
    return model in _births_of


def build_without_memory(factory: Callable[[], nn.Module]) -> nn.Module:
    """The model on the meta device.

    How its parameters were born is kept for `materialize`: one that two modules share has the
    values that its first one gave it; one that was converted (`.double()`), those of its first
    dtype. Only this record can tell.

    Raises:
        ConfigurationError: The factory loads weights, for which there is no room yet.
    """
    births: dict[nn.Parameter, tuple[nn.Module, str, torch.dtype]] = {}

    def note(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            births.setdefault(parameter, (module, name, parameter.dtype))

    hook = register_module_parameter_registration_hook(note)
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.filterwarnings("error", ".*copying from a non-meta parameter", UserWarning)
            model = factory()
    except UserWarning as lost:
        raise ConfigurationError(
            "the function that makes the model loads weights into it",
            received="a model on the meta device, which has no room for them yet",
            remedy="load them by the callback `LoadWeights`; or build the model in memory: "
            "FSDP(meta_device=False)",
        ) from lost
    finally:
        hook.remove()
    _births_of[model] = [births[p] for p in model.parameters() if p in births]
    return model


def materialize(model: nn.Module, device: torch.device) -> None:
    """Give every parameter and buffer of `model` memory on `device` and its initial value.

    Every module is initialised by its own `reset_parameters`, children before parents, as they are
    when they are constructed: on whole tensors on the CPU, of which each rank then keeps its part.
    With the same seed on all ranks the model so starts with the bits that it has when it is built
    without sharding, and takes no more than its part on the device, and what one `reset_parameters`
    sets on the host.

    Args:
        model: Sharded or not, all on the meta device.
        device: The device of its tensors.

    Raises:
        ConfigurationError: No `reset_parameters` sets a parameter or buffer.
    """
    _allocate(model, device)
    births = _births_of.pop(model, ())
    home = {id(module._parameters.get(name)): module for module, name, _ in births}
    dtypes = {id(module._parameters.get(name)): dtype for module, name, dtype in births}
    unset = {id(tensor) for module in model.modules() for _, tensor in _own(module)}
    for module in _children_first(model):
        if _reset_of(module) is None:
            continue
        touched = _touched_by_reset(module)
        inside = set(module.modules())
        kept = {key for key in touched if home.get(key, module) in inside}
        _initialise(module, touched, kept, unset, dtypes)
        unset -= kept
    for name, module in model.named_modules():
        for key, tensor in _own(module):
            if id(tensor) in unset:
                _refuse(name, module, key)


def _allocate(model: nn.Module, device: torch.device) -> None:
    made: dict[int, Tensor] = {}  # a tensor that two modules share stays one

    def allocate(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            empty = torch.empty_like(tensor, device=device)
            is_parameter = isinstance(tensor, nn.Parameter)
            made[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
        return made[id(tensor)]

    for module in model.modules():
        _replace(module, allocate)


def _own(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for tensors in (module._parameters, module._buffers):
        yield from ((name, tensor) for name, tensor in tensors.items() if tensor is not None)


def _replace(module: nn.Module, make: Make) -> None:
    for tensors in (module._parameters, module._buffers):
        slots: dict[str, Any] = tensors  # one type for both
        for name, tensor in slots.items():
            slots[name] = None if tensor is None else make(tensor)


def _children_first(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        yield from _children_first(child)
    yield module


def _reset_of(module: nn.Module) -> Callable[[], None] | None:
    return next((getattr(module, name) for name in _RESETS if hasattr(module, name)), None)


def _reset(twin: nn.Module) -> None:
    reset = _reset_of(twin)
    if reset is not None:
        reset()


def _twin(module: nn.Module, make: Make) -> nn.Module:
    """A copy of `module` and all below it, with other tensors."""
    twin: nn.Module = object.__new__(type(module))  # copy.copy would construct a sharded one again
    twin.__dict__.update(module.__dict__)
    twin._parameters, twin._buffers = dict(module._parameters), dict(module._buffers)
    _replace(twin, make)
    twin._modules = {
        name: None if child is None else _twin(child, make)
        for name, child in module._modules.items()
    }
    return twin


class _Writes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the storage of every tensor that is written to, through `.data` and views as well."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func._schema.is_mutable:
            written = (value for value in args[:1] if isinstance(value, Tensor))
            self.storages |= {tensor.untyped_storage()._cdata for tensor in written}
        return func(*args, **(kwargs or {}))


def _touched_by_reset(module: nn.Module) -> dict[int, Tensor]:
    """The tensors, by id, that the module's reset sets: found by a rehearsal without memory."""
    shadows: dict[int, tuple[Tensor, Tensor]] = {}

    def shadow(tensor: Tensor) -> Tensor:
        if id(tensor) not in shadows:
            shadows[id(tensor)] = (tensor, _like(tensor, "meta"))
        return shadows[id(tensor)][1]

    twin = _twin(module, shadow)
    with torch.random.fork_rng(devices=[]), _Writes() as writes, torch.device("meta"):
        _reset(twin)
    touched = {
        key: tensor
        for key, (tensor, stand_in) in shadows.items()
        if stand_in.untyped_storage()._cdata in writes.storages
    }
    # A buffer may also be replaced instead of being written to.
    for (_, tensor), (_, after) in zip(_own(module), _own(twin), strict=True):
        if after is not shadows[id(tensor)][1]:
            touched[id(tensor)] = tensor
    return touched


def _like(tensor: Tensor, device: str, dtype: torch.dtype | None = None) -> Tensor:
    whole = torch.empty(tensor.shape, dtype=dtype or tensor.dtype, device=device)
    is_parameter = isinstance(tensor, nn.Parameter)
    return nn.Parameter(whole, tensor.requires_grad) if is_parameter else whole


def _initialise(
    module: nn.Module,
    touched: Mapping[int, Tensor],
    kept: set[int],
    unset: set[int],
    dtypes: Mapping[int, torch.dtype],
) -> None:
    """Reset whole tensors on the CPU, and keep this rank's part of those that are `kept`."""
    wholes: dict[int, Tensor] = {}

    def whole(tensor: Tensor) -> Tensor:
        if id(tensor) not in touched:
            return _like(tensor, "meta")
        if id(tensor) not in wholes:
            wholes[id(tensor)] = _like(tensor, "cpu", dtypes.get(id(tensor)))
            if id(tensor) not in unset:  # a parent may change a part of what its child has set
                with torch.no_grad():
                    now = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
                    wholes[id(tensor)].copy_(now)
        return wholes[id(tensor)]

    twin = _twin(module, whole)
    _reset(twin)
    made_anew = {id(t): new for (_, t), (_, new) in zip(_own(module), _own(twin), strict=True)}
    with torch.no_grad():
        for key in kept:
            _keep_part(touched[key], made_anew.get(key, wholes.get(key, touched[key])))


def _keep_part(tensor: Tensor, whole: Tensor) -> None:
    if not isinstance(tensor, DTensor):
        tensor.copy_(whole)
        return
    # No rank's values are preferred (None): every rank has made the same.
    part = distribute_tensor(
        whole.detach().to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None
    )
    tensor.to_local().copy_(part.to_local())


def _refuse(name: str, module: nn.Module, key: str) -> None:
    raise ConfigurationError(
        f"nothing gives `{f'{name}.{key}' if name else key}` its initial value",
        expected="a reset_parameters() that sets it, in its module or one around it",
        received=f"{type(module).__name__}, built on the meta device, where a constructor's values "
        "are lost",
        remedy="move what the constructor sets to reset_parameters(), or pass a built model "
        "instead of a factory",
    )
