"""Memory that another process can read, without a name: it is gone with the processes."""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from trackside.checkpoint.tensors import Piece

Range = tuple[int, int]
"""First byte in the memory, and number of bytes."""
_PAGE_BYTES = mmap.PAGESIZE
_FALLOCATED_BYTES = 2**24
"""Zeros that are written at once where the system can't be asked for space."""


@final
class SharedMemory:
    """Room for the tensors of one snapshot, in a file without a name.

    In memory (`memfd_create`) where the system has that, and not in `/dev/shm`, which is small in
    containers; elsewhere a deleted file in the folder for temporary files.
    """

    def __init__(self) -> None:
        self.in_memory = hasattr(os, "memfd_create")
        """Whether it is memory, and not a deleted file on a disk."""
        self.file = _anonymous_file(in_memory=self.in_memory)
        """Its descriptor; a child process gets it by inheritance."""
        self.size_bytes = 0
        self._begin = self._end = 0
        self._map: mmap.mmap | None = None
        close = weakref.finalize(self, os.close, self.file)
        close.atexit = False  # the system closes it at the end of the process, maps included

    def lay_out(self, shapes: Mapping[str, Tensor], *, reserve_bytes: int = 0) -> dict[str, Tensor]:
        """A tensor in this memory for each of `shapes`, which can be on the meta device.

        What was laid out before is invalid afterwards. Every page is there when the call returns:
        the first copy costs what all others cost.

        Args:
            shapes: By key.
            reserve_bytes: Room for those that `extend` adds.

        Raises:
            OSError: The system has no more memory.
        """
        places, end = _places(shapes, 0)
        self._reserve(end + reserve_bytes)
        self._end = end
        return self._views(shapes, places)

    def extend(self, shapes: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """The same beside what was laid out before; None where there is no room for it."""
        places, end = _places(shapes, self._end)
        if end > self.size_bytes:
            return None
        self._end = end
        return self._views(shapes, places)

    def ranges(self, pieces: Sequence[Piece]) -> list[Range] | None:
        """Where the values of `pieces` are, in order, neighbours joined; None: not all are here."""
        found: list[Range] = []
        for piece in pieces:
            size = piece.size_bytes
            if size == 0:
                continue
            place = piece.tensor.data_ptr() - self._begin
            if not 0 <= place <= self.size_bytes - size:
                return None
            if found and sum(found[-1]) == place:
                found[-1] = (found[-1][0], found[-1][1] + size)
            else:
                found.append((place, size))
        return found

    def _reserve(self, size_bytes: int) -> None:
        if self._map is not None and size_bytes <= self.size_bytes:
            return
        pages = max(1, -(-size_bytes // _PAGE_BYTES)) * _PAGE_BYTES
        _allocate(self.file, pages)
        self._map = mmap.mmap(self.file, pages)
        # Touched by numpy: an operator of torch in this thread would start threads beside it.
        array = np.frombuffer(self._map, np.uint8)
        array[::_PAGE_BYTES] = 0
        self._begin = array.ctypes.data
        self.size_bytes = pages

    def _views(self, shapes: Mapping[str, Tensor], places: Mapping[str, int]) -> dict[str, Tensor]:
        assert self._map is not None, "reserved before"
        memory = torch.frombuffer(self._map, dtype=torch.uint8)
        views = {}
        for key, shape in shapes.items():
            part = memory[places[key] : places[key] + _size_bytes(shape)]
            views[key] = part.view(shape.dtype).view(shape.shape)
        return views


def _places(shapes: Mapping[str, Tensor], end: int) -> tuple[dict[str, int], int]:
    """Where each begins, from `end` on, and where the last one ends."""
    # In the order of the file: its body is then one range of the memory, without gaps.
    places: dict[str, int] = {}
    for key in sorted(shapes, key=lambda key: (-shapes[key].element_size(), key)):
        size = shapes[key].element_size()
        places[key] = -(-end // size) * size
        end = places[key] + _size_bytes(shapes[key])
    return places, end


def _size_bytes(shape: Tensor) -> int:
    return shape.numel() * shape.element_size()


def _anonymous_file(*, in_memory: bool) -> int:
    if in_memory:
        return os.memfd_create("trackside checkpoint", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())  # not inheritable, like the one that is closed here


def _allocate(file: int, size_bytes: int) -> None:
    """Make the file so large, with all of its space: a write to the memory can't fail later."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size_bytes)
        return
    zeros = bytes(_FALLOCATED_BYTES)
    for place in range(os.fstat(file).st_size, size_bytes, len(zeros)):
        os.pwrite(file, zeros[: size_bytes - place], place)
