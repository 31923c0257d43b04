from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trackside.distributed import World
from trackside.distributed.replicas import weigh
from trackside.distributed.sharding import Share, training_share

LOSSES = [torch.tensor(1.0), torch.tensor(4.0), torch.tensor(2.0)]


class OneOf(World):
    """A rank of a world whose sums are known."""

    def __init__(self, rank: int, weights: list[float]) -> None:
        super().__init__(rank)
        self.size = len(weights)
        self.weights = weights

    def all_reduce(self, x: object, op: object = "mean") -> object:  # type: ignore[override]
        assert op == "sum"
        assert float(x) == self.weights[self.rank]  # type: ignore[arg-type]
        return (
            type(x)(sum(self.weights)) if not isinstance(x, Tensor) else x * 0 + sum(self.weights)  # type: ignore[call-arg]
        )


def average(scaled: list[Tensor]) -> float:
    """What DDP and FSDP make of the ranks' losses."""
    return sum(float(loss) for loss in scaled) / len(scaled)


@pytest.mark.parametrize("samples", [3, 4, 5, 7])
def test_the_average_over_ranks_is_the_mean_over_samples(samples: int) -> None:
    shares = [training_share(range(samples), rank, 3) for rank in range(3)]
    pairs = [weigh(World(), s, x) for s, x in zip(shares, LOSSES, strict=True)]

    expected = sum(s.samples * x for s, x in zip(shares, LOSSES, strict=True)) / samples
    assert average([scaled for scaled, _, _ in pairs]) == pytest.approx(float(expected))
    assert [weight for _, weight, _ in pairs] == [None] * 3


@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_the_average_over_ranks_is_the_mean_over_weights(kind: type) -> None:
    weights = [3.0, 0.0, 5.0]
    pairs = [weigh(OneOf(r, weights), None, LOSSES[r], kind(weights[r])) for r in range(3)]

    assert average([scaled for scaled, _, _ in pairs]) == pytest.approx((3 * 1 + 5 * 2) / 8)
    assert [float(weight) for _, weight, _ in pairs if weight is not None] == weights


def test_a_filler_weighs_nothing_whatever_its_step_says() -> None:
    filler = Share([0], samples=0, total=1, ranks=2)
    scaled, weight, _ = weigh(OneOf(1, [7.0, 0.0]), filler, LOSSES[1], torch.tensor(9))

    assert (float(scaled), float(weight or 0)) == (0.0, 0.0)


def test_a_batch_without_any_weight_has_a_gradient_of_zero() -> None:
    scaled, _, _ = weigh(OneOf(0, [0.0, 0.0]), None, LOSSES[0], 0.0)

    assert float(scaled) == 0.0


def test_the_scaled_loss_keeps_its_dtype() -> None:
    loss = torch.tensor(1.0, dtype=torch.bfloat16)
    scaled, _, _ = weigh(OneOf(0, [1.0, 3.0]), None, loss, torch.tensor(1))

    assert scaled.dtype is torch.bfloat16
    assert weigh(World(), None, loss)[0] is loss
