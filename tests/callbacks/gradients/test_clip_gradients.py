"""ClipGradients limits what is applied and says how much there was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from trackside import Callback, Trainer
from trackside.callbacks.gradients.clip_gradients import ClipGradients
from trackside.errors import ConfigurationError
from trackside.run import Run


class Applied(Callback):
    """Keeps the gradients that are applied in each step."""

    def __init__(self) -> None:
        self.seen: list[list[Tensor]] = []

    def on_optimizer_step_end(self, run: Run, optimizer: Any) -> None:
        groups = optimizer.param_groups
        self.seen.append([p.grad.clone() for group in groups for p in group["params"]])


class Two(nn.Module):
    """Its gradient is (3, 4) times the input for `a` and 12 times it for `b`."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(2))
        self.b = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        factors = torch.tensor([3.0, 4.0]).to(x.device)
        return (self.a * factors).sum() * x.mean() + 12 * self.b.sum() * x.mean()


def fit(clip: ClipGradients, inputs: list[float], **options: Any) -> tuple[Applied, Any]:
    applied = Applied()
    trainer = Trainer(
        Two(),
        loss=lambda prediction, target: prediction,
        optimizer=lambda p: SGD([{"params": [one]} for one in p], lr=0.1),
        callbacks=[clip, applied],
        defaults=False,
        **options,
    )
    data = [(torch.full((1, 1), value), torch.zeros(1)) for value in inputs]
    return applied, trainer.fit(data, epochs=1)


def flat(gradients: list[Tensor]) -> list[float]:
    return torch.cat(gradients).tolist()


def test_the_norm_of_all_gradients_is_limited_and_logged() -> None:
    applied, result = fit(ClipGradients(norm=6.5), [1.0, 0.1])

    assert flat(applied.seen[0]) == pytest.approx([1.5, 2.0, 6.0])
    assert flat(applied.seen[1]) == pytest.approx([0.3, 0.4, 1.2])
    assert result.history.latest("clip/norm") == pytest.approx((13 + 1.3) / 2)
    assert result.history.latest("clip/share") == 0.5


def test_each_group_can_have_a_norm_of_its_own() -> None:
    applied, result = fit(ClipGradients(norm=6.0, per_group=True), [1.0])

    assert flat(applied.seen[0]) == pytest.approx([3.0, 4.0, 6.0])
    assert result.history.latest("clip/norm/0") == pytest.approx(5.0)
    assert result.history.latest("clip/norm/1") == pytest.approx(12.0)


def test_single_gradients_are_limited_by_value() -> None:
    applied, _ = fit(ClipGradients(value=3.5), [-1.0])

    assert flat(applied.seen[0]) == [-3.0, -3.5, -3.5]


def test_another_norm_can_be_limited() -> None:
    applied, _ = fit(ClipGradients(norm=6.0, norm_type=float("inf")), [1.0])

    assert flat(applied.seen[0]) == pytest.approx([1.5, 2.0, 6.0])


def test_it_clips_as_the_trainer_does() -> None:
    by_trainer = Applied()
    trainer = Trainer(
        Two(),
        loss=lambda prediction, target: prediction,
        optimizer=lambda p: SGD(p, lr=0.1),
        callbacks=[by_trainer],
        clip=2.0,
        defaults=False,
    )
    trainer.fit([(torch.ones(1, 1), torch.zeros(1))], epochs=1)
    by_callback, _ = fit(ClipGradients(norm=2.0), [1.0])

    assert flat(by_callback.seen[0]) == flat(by_trainer.seen[0])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm": 1.0, "value": 1.0},
        {"norm": 0.0},
        {"value": -1.0},
        {"norm": 1, "norm_type": 0.5},
    ],
    ids=str,
)
def test_limits_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        ClipGradients(**options)
