from __future__ import annotations

import os

import pytest
import torch

from trackside.checkpoint.shared_memory import SharedMemory
from trackside.checkpoint.tensors import Piece

SHAPES = {
    "flags": torch.ones(3, dtype=torch.bool),
    "weight": torch.ones(5, 7),
    "double": torch.ones(3, dtype=torch.float64),
    "complex": torch.ones(2, dtype=torch.complex128),
    "half": torch.ones(5, dtype=torch.bfloat16),
    "number": torch.tensor(1.0),
    "empty": torch.ones(2, 0),
}


def whole(key: str, tensor: torch.Tensor) -> Piece:
    return Piece(key, tensor, (0,) * tensor.dim(), tuple(tensor.shape))


def filled(memory: SharedMemory) -> dict[str, torch.Tensor]:
    views = memory.lay_out(SHAPES)
    for key, view in views.items():
        view.copy_(SHAPES[key])
    return views


def test_tensors_keep_their_shapes_and_don_t_share_a_byte() -> None:
    views = filled(SharedMemory())
    assert {key: (v.dtype, v.shape) for key, v in views.items()} == {
        key: (t.dtype, t.shape) for key, t in SHAPES.items()
    }
    assert all(torch.equal(views[key], SHAPES[key]) for key in SHAPES)


def test_another_reader_of_the_file_finds_the_values_at_the_ranges() -> None:
    memory = SharedMemory()
    views = filled(memory)
    pieces = [whole(key, views[key]) for key in ("complex", "weight")]
    ranges = memory.ranges(pieces)
    assert ranges is not None
    found = b"".join(os.pread(memory.file, size, place) for place, size in ranges)
    assert found == b"".join(bytes(piece.bytes_view()) for piece in pieces)


def test_tensors_in_the_order_of_the_file_are_one_range() -> None:
    memory = SharedMemory()
    views = memory.lay_out({key: torch.ones(3) for key in "cab"})
    assert memory.ranges([whole(key, views[key]) for key in "abc"]) == [(0, 36)]


def test_a_tensor_that_is_elsewhere_has_no_range() -> None:
    memory = SharedMemory()
    memory.lay_out(SHAPES)
    assert memory.ranges([whole("x", torch.ones(2))]) is None


def test_what_is_added_leaves_the_others_where_they_are() -> None:
    memory = SharedMemory()
    first = memory.lay_out({"a": torch.ones(3)}, reserve_bytes=100)["a"].fill_(5)
    added = memory.extend({"b": torch.ones(2)})
    assert added is not None
    added["b"].fill_(7)
    assert first.tolist() == [5, 5, 5]
    assert memory.ranges([whole("a", first), whole("b", added["b"])]) == [(0, 20)]


def test_what_has_no_room_is_not_added() -> None:
    memory = SharedMemory()
    memory.lay_out({"a": torch.ones(3)})
    assert memory.extend({"b": torch.ones(10_000)}) is None


def test_a_larger_snapshot_gets_more_memory() -> None:
    memory = SharedMemory()
    memory.lay_out({"a": torch.ones(3)})
    large = memory.lay_out({"a": torch.ones(100_000)})["a"].fill_(2)
    assert memory.ranges([whole("a", large)]) == [(0, 400_000)]
    assert os.pread(memory.file, 4, 399_996) == bytes(large[-1:].numpy().data)


def test_no_name_leads_to_it_and_exec_does_not_inherit_it() -> None:
    memory = SharedMemory()
    assert os.fstat(memory.file).st_nlink == 0
    assert not os.get_inheritable(memory.file)


def test_without_memory_files_it_is_a_deleted_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    memory = SharedMemory()
    views = filled(memory)
    assert not memory.in_memory
    assert os.fstat(memory.file).st_nlink == 0
    assert not os.get_inheritable(memory.file)
    assert torch.equal(views["weight"], SHAPES["weight"])


def test_the_space_is_there_before_it_is_written_to() -> None:
    memory = SharedMemory()
    memory.lay_out({"a": torch.ones(100_000)})
    assert os.fstat(memory.file).st_blocks * 512 >= 400_000


def test_the_file_is_closed_with_its_owner() -> None:
    memory = SharedMemory()
    file = memory.file
    del memory
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)
