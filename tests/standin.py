"""An accelerator that every machine has: a device of its own whose tensors are kept on the host.

`python -m pytest --device standin` (or `TRACKSIDE_TEST_DEVICE=standin`) trains on it. It computes
with the kernels of the CPU, so that figures are the CPU's to the bit, and it is as strict as an
accelerator: an operation over tensors of the host and of the device is refused, so is anything that
reads the memory of a device's tensor as if it were the host's. `waits()` counts how often a value
is brought to the host. It has no streams: the order of copies is tested apart, in
`tests/data/test_prefetch.py` and `tests/checkpoint/test_snapshot.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy as copy_of
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from trackside.checkpoint import tensors

NAME = "standin"

_aten = torch.ops.aten
_COPIES = (_aten.copy_.default, _aten._foreach_copy_.default)
_STACKS = (_aten.cat.default, _aten.stack.default)
"""These take no tensor of the host at all; others take a single number of it, as CUDA does."""
_INDEXED = (
    _aten.index.Tensor,
    _aten.index_put_.default,
    _aten.index_put.default,
    _aten._index_put_impl_.default,
)
"""Indices may be the host's, as on CUDA."""


class DeviceTensor(Tensor):
    """A tensor on the stand-in device; its values are in `held`, a tensor of the host."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> DeviceTensor:
        made: DeviceTensor = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
            requires_grad=held.requires_grad,
        )
        made.held = held.detach()
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"{type(self).__name__}({self.held!r})"

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(parts: Any, meta: None, size: Any, stride: Any) -> DeviceTensor:
        return DeviceTensor(parts["held"])

    @classmethod
    def __torch_dispatch__(  # type: ignore[override] # torch's own has no body
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _compute(func, args, kwargs or {})

    def numpy(self, *, force: bool = False) -> Any:
        """As on each device: only a copy of the host can be seen by NumPy."""
        if not force:
            raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy")
        return self.detach().cpu().numpy()

    def __array__(self, dtype: Any = None) -> Any:
        return self.numpy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copy: Tensor = DeviceTensor(self.held.clone())
        if isinstance(self, torch.nn.Parameter):
            copy = torch.nn.Parameter(copy, requires_grad=self.requires_grad)
        else:
            copy.requires_grad_(self.requires_grad)
        if self.grad is not None:
            copy.grad = copy_of(self.grad, memo)
        memo[id(self)] = copy
        return copy

    def data_ptr(self) -> int:
        """Where its values begin."""
        return self.held.data_ptr()

    def untyped_storage(self) -> Any:
        """The memory of its values."""
        return self.held.untyped_storage()

    def tolist(self) -> Any:
        """The values, which waits for the device."""
        return self.cpu().tolist()


class Device(TorchDispatchMode):
    """While it is entered, tensors can be made on the device."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _compute(func, args, kwargs or {})


_waits = 0


@contextmanager
def waits() -> Iterator[Callable[[], int]]:
    """Within it, the function that it gives says how often the host waited for the device."""
    before = _waits
    yield lambda: _waits - before


def _on_device(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _held(value: Tensor) -> Tensor:
    return value.held if isinstance(value, DeviceTensor) else value


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if kwargs.get("pin_memory"):  # all memory of the host is as good as pinned
        kwargs = {**kwargs, "pin_memory": False}
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    here = any(isinstance(tensor, DeviceTensor) for tensor in tensors)
    if not here and not _on_device(kwargs.get("device")):
        return func(*args, **kwargs)
    if func is _aten._to_copy.default:
        return _moved(func, args, kwargs)
    if func in _COPIES:
        _note_wait(func, args)
        func(*tree_map_only(DeviceTensor, _held, args), **kwargs)
        return args[0] if func is _aten.copy_.default else None
    if func is _aten._local_scalar_dense.default:
        _wait()
    if here:
        _refuse_mixture(func, args, kwargs, tensors)
    on_host = dict(kwargs)
    if on_host.get("device") is not None:
        on_host["device"] = torch.device("cpu")
        on_host.pop("pin_memory", None)
    result = func(
        *tree_map_only(DeviceTensor, _held, args), **tree_map_only(DeviceTensor, _held, on_host)
    )
    if here and kwargs.get("device") is not None and not _on_device(kwargs["device"]):
        return result
    result = tree_map_only(Tensor, _wrapped, result)
    if any(one.alias_info is not None and one.alias_info.is_write for one in func._schema.returns):
        return kwargs.get("out", args[0])  # changed in place: the tensor itself, as it came
    return result


def _wrapped(tensor: Tensor) -> Tensor:
    return tensor if isinstance(tensor, DeviceTensor) else DeviceTensor(tensor)


def _moved(func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
    source, target = args[0], kwargs.get("device")
    options = {key: kwargs[key] for key in kwargs.keys() - {"device", "pin_memory"}}
    to_device = _on_device(target) if target is not None else isinstance(source, DeviceTensor)
    if isinstance(source, DeviceTensor) and not to_device and not kwargs.get("non_blocking"):
        _wait()
    if target is not None and not to_device:
        options["device"] = target
    copy: Tensor = func(_held(source), **options)
    return DeviceTensor(copy) if to_device else copy


def _note_wait(func: Any, args: Any) -> None:
    if func is not _aten.copy_.default:
        return
    target, source = args[:2]
    blocking = not (args[2] if len(args) > 2 else False)
    if isinstance(source, DeviceTensor) and not isinstance(target, DeviceTensor) and blocking:
        _wait()


def _wait() -> None:
    global _waits
    _waits += 1


def _refuse_mixture(func: Any, args: Any, kwargs: dict[str, Any], tensors: list[Tensor]) -> None:
    if func in _INDEXED:
        tensors = [args[0], *([args[2]] if len(args) > 2 else [])]
    foreign = [t for t in tensors if not isinstance(t, DeviceTensor)]
    if func not in _STACKS:
        foreign = [tensor for tensor in foreign if tensor.dim()]
    if foreign:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{NAME}:0 and cpu! (when checking {func})"
        )


class _Module:
    """What torch asks a device's module for."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """It draws from the generator of the CPU."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)


class Event:
    """A mark in the device's work, which is done when it is asked for."""

    def __init__(self, device: Any = None, *, enable_timing: bool = False) -> None:
        self._at = 0.0

    def record(self, stream: Any = None) -> None:
        self._at = perf_counter()

    def elapsed_time(self, later: Event) -> float:
        """Milliseconds from here to `later`."""
        return (later._at - self._at) * 1000


_LOWERED = ("linear", "matmul", "mm", "addmm", "bmm", "conv2d")
_library = torch.library.Library("aten", "IMPL")
_fallback = torch.library.Library("_", "IMPL")


def _lower(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _register_autocast() -> None:
    """Within `torch.autocast`, products are computed in its data type, as on each device."""
    key: Any = getattr(torch._C.DispatchKey, "AutocastPrivateUse1")  # noqa: B009 - stubs lack it
    outside = torch._C.DispatchKeySet(key)

    def lowered(operation: Any) -> Callable[..., Any]:
        def compute(*args: Any, **kwargs: Any) -> Any:
            dtype = torch.get_autocast_dtype(NAME)
            with torch._C._ExcludeDispatchKeyGuard(outside):
                return operation(*tree_map_only(Tensor, lambda t: _lower(t, dtype), args), **kwargs)

        return compute

    _fallback.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    for name in _LOWERED:
        packet = getattr(torch.ops.aten, name)
        _library.impl(name, lowered(packet), "AutocastPrivateUse1")


def install() -> None:
    """Make the device known to torch, as the accelerator of this process, for good.

    Tensors are made on it in the thread that calls this; other threads use those that there are.
    """
    if hasattr(torch, NAME):
        return  # it was made known before
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    _register_autocast()
    # The tensors of a real device are of torch's own class.
    setattr(tensors, "_PLAIN", (*tensors._PLAIN, DeviceTensor))  # noqa: B010 - a tuple of others
    torch.accelerator.synchronize = lambda device=None: None
    torch.Event = Event  # type: ignore[assignment, misc] # torch's own takes no time here
    Device().__enter__()
