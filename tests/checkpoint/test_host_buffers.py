from __future__ import annotations

import pytest
import torch

from tests.checkpoint.states import equal, small_state
from trackside.checkpoint import host_buffers
from trackside.checkpoint.host_buffers import HostBuffers
from trackside.checkpoint.shared_memory import SharedMemory
from trackside.checkpoint.snapshot import allocate_for, take_snapshot


def values(snapshot: object) -> dict[str, torch.Tensor]:
    return {piece.key: piece.tensor for piece in snapshot.pieces}  # type: ignore[attr-defined]


def test_the_next_snapshot_uses_the_same_memory() -> None:
    buffers = HostBuffers()
    state = small_state()
    first = values(take_snapshot(state, None, buffers=buffers))
    second = values(take_snapshot(state, None, buffers=buffers))
    assert [t.data_ptr() for t in first.values()] == [t.data_ptr() for t in second.values()]


def test_a_tensor_that_changed_its_shape_or_dtype_gets_new_memory() -> None:
    buffers = HostBuffers()
    for tensor in (torch.ones(2), torch.ones(3), torch.ones(3, dtype=torch.int64)):
        assert equal(values(take_snapshot({"x": tensor}, None, buffers=buffers))["x"], tensor)


def test_memory_of_a_tensor_that_is_gone_is_given_back() -> None:
    buffers = HostBuffers()
    take_snapshot({"x": torch.ones(2), "y": torch.ones(2)}, None, buffers=buffers)
    take_snapshot({"y": torch.ones(2)}, None, buffers=buffers)
    assert list(buffers._buffers) == ["y"]


@pytest.fixture
def slabs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the pieces of pinned memory that were asked for; the CPU counts as a device."""
    sizes: list[int] = []

    def some(count: int) -> torch.Tensor:
        sizes.append(count)
        return torch.empty(count, dtype=torch.uint8)

    monkeypatch.setattr(host_buffers, "pinned_bytes", some)
    monkeypatch.setattr(host_buffers, "WITH_PINNED_MEMORY", {"cpu"})
    return sizes


def test_memory_that_was_got_beforehand_holds_the_first_snapshot(slabs: list[int]) -> None:
    buffers, state = HostBuffers(), {"x": torch.ones(3), "y": torch.ones(2, 5, dtype=torch.int64)}
    allocate_for(state, 0, buffers)
    copied = values(take_snapshot(state, None, buffers=buffers))
    assert equal(copied, state)
    assert len(slabs) == 1  # one piece for both, and none for the snapshot
    assert len({tensor.untyped_storage().data_ptr() for tensor in copied.values()}) == 1


def test_a_tensor_that_came_later_finds_room_beside_the_others(slabs: list[int]) -> None:
    buffers = HostBuffers()
    allocate_for({"x": torch.ones(3)}, 0, buffers)
    state = {"x": torch.ones(3), "later": torch.full((4,), 2.0)}
    assert equal(values(take_snapshot(state, None, buffers=buffers)), state)
    assert len(slabs) == 1


def test_a_tensor_larger_than_a_piece_has_one_of_its_own(
    slabs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_buffers, "SLAB_BYTES", 64)
    state = {"large": torch.ones(100), "small": torch.ones(2)}
    assert equal(values(take_snapshot(state, None, buffers=HostBuffers())), state)
    assert slabs == [400, 64]


def test_a_snapshot_is_in_shared_memory_from_a_size_on() -> None:
    made: list[SharedMemory] = []
    buffers = HostBuffers(100, made.append)
    take_snapshot({"x": torch.ones(24)}, None, buffers=buffers)
    assert (buffers.shared, made) == (None, [])
    for _ in range(2):
        take_snapshot({"x": torch.ones(25)}, None, buffers=buffers)
    assert made == [buffers.shared]


def test_shared_memory_got_beforehand_has_room_for_what_comes_later() -> None:
    made: list[SharedMemory] = []
    buffers = HostBuffers(0, made.append)
    state = {"x": torch.ones(3), "y": torch.ones(4)}
    allocate_for({"x": state["x"]}, 0, buffers, {"x": 12, "y": 16})
    assert buffers._allocating is not None
    buffers._allocating.join()
    before, size_bytes = buffers._buffers["x"], made[0].size_bytes
    copied = values(take_snapshot(state, None, buffers=buffers))
    assert equal(copied, state)
    assert copied["x"] is before
    assert made[0].size_bytes == size_bytes


def test_shared_memory_is_laid_out_again_when_a_tensor_is_gone() -> None:
    buffers = HostBuffers(0)
    state = {"x": torch.ones(3), "y": torch.full((4,), 2.0)}
    take_snapshot(state, None, buffers=buffers)
    copied = values(take_snapshot({"y": state["y"]}, None, buffers=buffers))
    assert equal(copied, {"y": state["y"]})
    assert list(buffers._buffers) == ["y"]


def test_what_a_device_copies_to_pinned_memory_is_not_shared(slabs: list[int]) -> None:
    buffers = HostBuffers(0)
    state = {"x": torch.ones(3)}
    assert equal(values(take_snapshot(state, None, buffers=buffers)), state)
    assert buffers.shared is None
    assert slabs


def test_little_memory_is_not_got_beforehand() -> None:
    buffers = HostBuffers()
    allocate_for({"x": torch.ones(3)}, 0, buffers)
    assert buffers._allocating is None


def test_much_ordinary_memory_is_got_beforehand() -> None:
    buffers = HostBuffers()
    allocate_for({"x": torch.ones(2**20)}, 0, buffers)
    assert buffers._allocating is not None
    buffers._allocating.join()
    before = buffers._buffers["x"]
    assert values(take_snapshot({"x": torch.ones(2**20)}, None, buffers=buffers))["x"] is before
