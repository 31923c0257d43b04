"""Waits for the device: each place at which the host asks for a value that the device computes.

On an accelerator whatever reads a value of a tensor there; on a CPU, where nothing waits, the same
readings are found, so that a program is checked without an accelerator. On CUDA torch's own check
of synchronizing calls looks on as well.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from trackside.machine.accelerator import accelerator, is_in_use

READING = frozenset(
    [
        *("item", "tolist", "cpu", "numpy", "nonzero", "equal", "allclose"),
        *("__bool__", "__float__", "__int__", "__index__", "__contains__", "__array__"),
        *("__repr__", "__format__", "masked_select", "unique", "is_nonzero"),
    ]
)
"""Functions of torch, and methods of a tensor, that need a value on the host."""
_MADE_HERE: MutableMapping[Tensor, bool] = WeakIdKeyDictionary()
"""Tensors that were made of plain values under a watch."""
_TORCH = str(Path(torch.__file__).parent)
_CUDA = "called a synchronizing CUDA operation"


class Wait(NamedTuple):
    """One wait for the device."""

    what: str
    """The function of torch that asked for the value: `item`."""
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.what} at {self.file}:{self.line}"


class _Watch(TorchFunctionMode):
    """Notes who reads a value. Tensors that are made inside from plain values are on the host."""

    def __init__(self, waits: list[Wait]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        given = list(_tensors((args, kwargs)))
        waited = [one for one in given if not _is_on_host(one)]
        to_host = name == "to" and _names_cpu(args[1:], kwargs) and not kwargs.get("non_blocking")
        reads = name in READING or to_host
        if reads and waited:
            self.waits.append(Wait(name, *_place(sys._getframe(1))))
        result = func(*args, **kwargs)
        if not waited or reads:
            for one in _tensors(result):
                if one.device.type == "cpu" and not any(one is other for other in waited):
                    _MADE_HERE[one] = True
        return result


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tensors(one)


def _is_on_host(tensor: Tensor) -> bool:
    """Whether its value is known to be on the host on every machine."""
    return tensor in _MADE_HERE


def _names_cpu(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    # A name: the device of another tensor is the CPU only because the run is on one.
    return any(isinstance(one, str) and one == "cpu" for one in (*args, kwargs.get("device")))


def _place(frame: FrameType | None) -> tuple[str, int]:
    """The nearest line outside of torch, and of this module."""
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_TORCH) and file != __file__:
            return file, frame.f_lineno
        frame = frame.f_back
    return "unknown", 0


@contextmanager
def watched_waits() -> Iterator[list[Wait]]:
    """Inside, each wait for the device is noted in the list."""
    waits: list[Wait] = []
    with _cuda_check(waits), _Watch(waits):
        yield waits


@contextmanager
def _cuda_check(waits: list[Wait]) -> Iterator[None]:
    """On CUDA, torch warns of each synchronizing call; each warning is a wait."""
    device = accelerator()
    if device is None or device.type != "cuda" or not is_in_use(device):
        yield
        return
    former = torch.cuda.get_sync_debug_mode()
    show = warnings.showwarning

    def note(message: Any, category: Any, filename: str, lineno: int, *rest: Any) -> None:
        if not str(message).startswith(_CUDA):
            show(message, category, filename, lineno, *rest)
            return
        file, line = _place(sys._getframe(1))
        if not any((one.file, one.line) == (file, line) for one in waits):  # noted by name already
            waits.append(Wait("a synchronizing call", file, line))

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*prototype feature.*")
        warnings.filterwarnings("always", message=_CUDA)
        warnings.showwarning = note  # type: ignore[assignment]
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(former)
