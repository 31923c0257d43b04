"""Averages of tensors, and other values in their place."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trackside.callbacks.averaging.averages import (
    Substitution,
    check_decays,
    copies,
    fingerprint,
    live_tensors,
    move_towards,
    take_over,
    warmed_up,
)
from trackside.errors import CheckpointError, ConfigurationError


def test_an_average_moves_by_its_share_of_the_way() -> None:
    averages, live = [torch.tensor([0.0, 4.0])], [torch.tensor([8.0, 0.0])]

    move_towards(averages, live, 0.25)

    assert averages[0].tolist() == [2.0, 3.0]


def test_a_whole_share_is_an_exact_copy() -> None:
    averages, live = [torch.rand(50)], [torch.rand(50) * 1e3]

    move_towards(averages, live, 1.0)

    assert torch.equal(averages[0], live[0])


def test_the_average_of_half_precision_weights_is_kept_in_single() -> None:
    live = {"w": torch.ones(3, dtype=torch.bfloat16)}
    averages = copies(live)
    live["w"].fill_(2)

    for _ in range(10):
        move_towards([averages["w"]], [live["w"]], 1e-3)

    assert averages["w"].dtype is torch.float32
    assert torch.allclose(averages["w"], torch.tensor(2 - 0.999**10), atol=1e-6)


@pytest.mark.parametrize(("updates", "decay"), [(0, 0.1), (8, 0.5), (100_000, 0.9)])
def test_a_warm_up_forgets_the_beginning(updates: int, decay: float) -> None:
    assert warmed_up(0.9, updates) == pytest.approx(decay)


def test_tied_weights_and_whole_numbers_are_averaged_once_and_not_at_all() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[1].weight = model[0].weight

    names = live_tensors({"model": model}, None, buffers=True)

    assert [n for n in names if n.endswith("weight")] == ["model.0.weight", "model.2.weight"]
    assert "model.2.running_var" in names
    assert "model.2.num_batches_tracked" not in names


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError, match="did you mean `generator`"):
        live_tensors({"generator": nn.Linear(1, 1)}, ["generater"], buffers=False)


@pytest.mark.parametrize("decays", [[], [1.0], [-0.1], [0.9, 0.9], [float("nan")]])
def test_decays_that_average_nothing_are_refused(decays: list[float]) -> None:
    with pytest.raises(ConfigurationError, match="can't be averaged"):
        check_decays(decays)


def test_what_was_exchanged_comes_back_bit_by_bit() -> None:
    model = nn.Linear(3, 3).to(torch.bfloat16)
    live = list(model.parameters())
    before = [tensor.detach().clone() for tensor in live]
    substitution = Substitution()

    substitution.put({"model": model}, live, [torch.rand(3, 3), torch.rand(3)])
    assert not torch.equal(live[0], before[0])
    substitution.undo()

    assert all(torch.equal(a, b) for a, b in zip(live, before, strict=True))
    assert not substitution.active


def test_an_exchange_that_fails_half_way_can_be_undone() -> None:
    live = [torch.ones(2), torch.ones(3)]
    substitution = Substitution()

    with pytest.raises(RuntimeError):
        substitution.put({}, live, [torch.zeros(2), torch.zeros(4)])
    substitution.undo()

    assert [tensor.sum().item() for tensor in live] == [2.0, 3.0]


def test_an_exchange_does_not_happen_twice() -> None:
    substitution = Substitution()
    substitution.put({}, [torch.ones(1)], [torch.zeros(1)])

    with pytest.raises(RuntimeError, match="already"):
        substitution.put({}, [torch.ones(1)], [torch.zeros(1)])


def test_averages_of_another_model_are_refused() -> None:
    own = {"a": torch.zeros(2), "b": torch.zeros(1)}

    with pytest.raises(CheckpointError, match="'b' is only in the model"):
        take_over(own, {"a": torch.zeros(2)})
    with pytest.raises(CheckpointError, match="another shape"):
        take_over(own, {"a": torch.zeros(3), "b": torch.zeros(1)})


def test_sharded_modules_gather_anew_when_their_values_are_exchanged() -> None:
    class Sharded(nn.Linear):
        gathered = True

        def reshard(self) -> None:
            self.gathered = False

        def unshard(self) -> None:
            self.gathered = True

    model = Sharded(1, 1)
    substitution = Substitution()

    substitution.put({"model": model}, [model.weight], [torch.ones(1, 1)])
    assert not model.gathered
    model.gathered = True
    substitution.undo()

    assert not model.gathered


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_fingerprint_changes_with_the_last_bit_of_a_weight(dtype: torch.dtype) -> None:
    weights = torch.randn(3, 4, dtype=dtype).t()
    before = fingerprint([weights, weights[:1]])
    weights[2, 0] = torch.nextafter(weights[2, 0], torch.tensor(9.0, dtype=dtype))
    after = fingerprint([weights, weights[:1]])

    assert (before[0] == after[0], before[1] == after[1]) == (False, True)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex128]
)
def test_a_fingerprint_sees_the_last_bit_of_any_kind_of_number(dtype: torch.dtype) -> None:
    tensor = torch.ones(3, 2, dtype=dtype)
    before = fingerprint([tensor.T])
    real = torch.view_as_real(tensor) if dtype.is_complex else tensor
    assert fingerprint([tensor.clone().T]) == before

    real.view(-1)[0] += torch.finfo(dtype).eps

    assert fingerprint([tensor.T]) != before
