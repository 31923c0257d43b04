from __future__ import annotations

import numpy as np
import torch

from tests.checkpoint.states import equal, rank_state, small_state
from trackside.checkpoint.host_buffers import HostBuffers
from trackside.checkpoint.snapshot import (
    size_estimate_bytes,
    take_snapshot,
)


def values(snapshot: object) -> dict[str, torch.Tensor]:
    return {piece.key: piece.tensor for piece in snapshot.pieces}  # type: ignore[attr-defined]


def test_a_snapshot_does_not_follow_what_the_loop_changes_in_place() -> None:
    weight, array = torch.zeros(3), np.zeros(3)
    row = {"loss": 1.0}
    state = {"weight": weight, "array": array, "history": [row]}
    snapshot = take_snapshot(state, None, buffers=HostBuffers())
    weight += 1
    array += 1
    row["loss"] = 2.0
    assert equal(values(snapshot)["weight"], torch.zeros(3))
    assert equal(values(snapshot)["array"], torch.zeros(3, dtype=torch.float64))
    assert snapshot.state["history"] == [{"loss": 1.0}]  # type: ignore[index, call-overload]


def test_turned_and_conjugated_tensors_are_copied_as_they_look() -> None:
    numbers = torch.randn(2, 3, dtype=torch.complex64)
    state = {"turned": torch.arange(6).reshape(2, 3).T, "conjugate": numbers.conj()}
    for buffers in (None, HostBuffers()):
        copied = values(take_snapshot(state, None, buffers=buffers))
        assert equal(copied, state)
        assert all(tensor.is_contiguous() for tensor in copied.values())


def test_without_buffers_host_tensors_are_not_copied() -> None:
    weight = torch.ones(3)
    assert values(take_snapshot({"x": weight}, None))["x"].data_ptr() == weight.data_ptr()


def test_a_rank_above_zero_contributes_only_what_it_alone_knows() -> None:
    snapshot = take_snapshot(small_state(), rank_state(), rank=3)
    assert snapshot.state is None
    assert [piece.key for piece in snapshot.pieces] == ["rank-00003/torch"]


def test_the_size_is_estimated_within_a_few_per_cent() -> None:
    model = torch.nn.Linear(300, 100)
    state = {"model": model.state_dict(), "tied": model.weight}
    assert 1.0 <= size_estimate_bytes(state, rank_state()) / (30_100 * 4 + 6 * 1024) < 1.2
