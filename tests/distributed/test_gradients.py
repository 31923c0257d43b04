from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from trackside import Callback, Clip, Settings, Trainer
from trackside.callbacks import (
    ClipGradients,
    GradientNoise,
    GradientNorm,
    Histograms,
    TerminateOnNonFinite,
)
from trackside.distributed.gradients import clip_by_norm

# Sharded gradients: tests/distributed/test_parallel.py, on two processes.


def model_with_gradients() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    model(torch.randn(5, 4)).square().sum().backward()
    return model


@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
def test_without_shards_it_is_torch_s_own_clipping_bit_by_bit(norm_type: float) -> None:
    mine, theirs = model_with_gradients(), model_with_gradients()
    found = clip_by_norm(mine.parameters(), 0.5, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5, norm_type)
    assert torch.equal(found, expected)
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)


def test_parameters_without_gradients_are_passed_over() -> None:
    model = nn.Linear(2, 2)
    assert clip_by_norm(model.parameters(), 1.0).item() == 0.0


class Words(nn.Module):
    def __init__(self, sparse: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(9, 2, sparse=sparse)

    def forward(self, words: Tensor) -> Tensor:
        mean: Tensor = self.embedding(words).mean((1, 2))
        return mean


LOOKS_AT_GRADIENTS: Mapping[str, Any] = {
    "clip=0.01": {"clip": 0.01},
    "Clip(value=0.001)": {"clip": Clip(value=0.001)},
    "ClipGradients(norm=0.01)": {"callbacks": lambda: [ClipGradients(norm=0.01)]},
    "ClipGradients(value=0.001)": {"callbacks": lambda: [ClipGradients(value=0.001)]},
    "GradientNorm": {"callbacks": lambda: [GradientNorm("1 step", patterns=["embedding*"])]},
    "GradientNoise": {"callbacks": lambda: [GradientNoise("1 step")], "accumulate": 2},
    "Histograms": {"callbacks": lambda: [Histograms("1 step")]},
    "TerminateOnNonFinite": {"callbacks": lambda: [TerminateOnNonFinite(gradients=True)]},
}


@pytest.mark.not_standin("sparse tensors")
@pytest.mark.parametrize("name", LOOKS_AT_GRADIENTS)
def test_sparse_gradients_are_looked_at_and_clipped_as_dense_ones(name: str) -> None:
    options = LOOKS_AT_GRADIENTS[name]
    callbacks: list[Callback[Any]] = options.get("callbacks", list)()
    found = []
    words = torch.randint(0, 9, (16, 3), generator=torch.Generator().manual_seed(0))
    for sparse in (False, True):
        trainer = Trainer(
            model := Words(sparse),
            loss=nn.MSELoss(),
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.5),
            defaults=False,
            settings=Settings(directory=f"sparse-{sparse}", log_every="1 step"),
            **{**options, "callbacks": callbacks},
        )
        data = TensorDataset(words, torch.ones(16))
        result = trainer.fit(DataLoader(data, batch_size=4), epochs=1)
        values = [v for record in result.history for v in record.values.values()]
        found.append((model.embedding.weight.detach(), torch.tensor(values)))
    torch.testing.assert_close(found[0], found[1], equal_nan=True)
