"""Steps that optimize by hand: gradients belong to the update they were made for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.optim import SGD, Optimizer
from torch.utils.data import TensorDataset

from tests.device import DEVICE, same
from trackside import Run, Settings, Trainer
from trackside.callbacks import Checkpoint

REAL = torch.randn(32, 2, generator=torch.Generator().manual_seed(0)) + 3
ONES, ZEROS = torch.ones(8, 1).to(DEVICE), torch.zeros(8, 1).to(DEVICE)


def judging(maker: nn.Module, judge: nn.Module, real: Tensor, noise: Tensor) -> Tensor:
    return bce(judge(real), ONES) + bce(judge(maker(noise).detach()), ZEROS)


def making(maker: nn.Module, judge: nn.Module, noise: Tensor) -> Tensor:
    return bce(judge(maker(noise)), ONES)


class GAN(Trainer):
    manual_optimization = True

    def configure_model(self, run: Run) -> Mapping[str, nn.Module]:
        return {"maker": nn.Linear(2, 2), "judge": nn.Linear(2, 1)}

    def configure_optimizers(self, run: Run) -> Mapping[str, Optimizer]:
        return {n: SGD(m.parameters(), lr=0.05, momentum=0.9) for n, m in run.models.items()}

    def training_step(self, run: Run, batch: Any) -> Tensor:
        maker, judge = run.models["maker"], run.models["judge"]
        noise = torch.randn_like(batch[0])
        self.optimize(judging(maker, judge, batch[0], noise), run.optimizers["judge"])
        loss = making(maker, judge, noise)
        self.optimize(loss, run.optimizers["maker"])
        return loss


def by_hand(epochs: int) -> list[Tensor]:
    torch.manual_seed(1)
    maker, judge = nn.Linear(2, 2).to(DEVICE), nn.Linear(2, 1).to(DEVICE)
    of_maker, of_judge = (SGD(m.parameters(), lr=0.05, momentum=0.9) for m in (maker, judge))
    for _ in range(epochs):
        for real in REAL.to(DEVICE).split(8):
            noise = torch.randn_like(real)
            of_judge.zero_grad()
            judging(maker, judge, real, noise).backward()
            of_judge.step()
            of_maker.zero_grad()
            making(maker, judge, noise).backward()
            of_maker.step()
    return [maker.weight, judge.weight]


def weights(trainer: Trainer) -> list[Tensor]:
    return [model.get_parameter("weight").detach() for model in trainer.models.values()]


def test_a_gan_is_the_loop_by_hand() -> None:
    trainer = GAN(defaults=False, seed=1)
    trainer.fit([[real] for real in REAL.split(8)], epochs=3)
    assert all(map(torch.equal, weights(trainer), by_hand(3)))


def test_no_model_has_gradients_after_a_step() -> None:
    trainer = GAN(defaults=False, seed=1)
    trainer.fit([[REAL[:8]]], epochs=1)
    kept = [p.grad for model in trainer.models.values() for p in model.parameters()]
    assert kept == [None] * 4


def test_a_gan_resumes_bitwise(tmp_path: Path) -> None:
    def trained(folder: str, epochs: int, resume: str | None = None) -> list[Tensor]:
        settings = Settings(directory=tmp_path / folder)
        trainer = GAN(callbacks=[Checkpoint()], defaults=False, seed=1, settings=settings)
        trainer.fit(TensorDataset(REAL), epochs=epochs, batch_size=8, resume=resume)
        return weights(trainer)

    whole = trained("whole", 4)
    trained("parts", 2)
    assert all(map(torch.equal, trained("parts", 4, "auto"), whole))


class Adding(Trainer):
    """Calls `backward` itself before it lets the trainer update."""

    manual_optimization = True

    def training_step(self, run: Run, batch: Any) -> Tensor:
        loss: Tensor = run.model(batch[0]).square().mean()
        run.model(batch[0]).mean().backward()
        self.optimize(loss, run.optimizer)
        return loss


@pytest.mark.parametrize("steps", [1, 3])
def test_gradients_of_an_own_backward_are_said_once_to_be_dropped(
    caplog: pytest.LogCaptureFixture, steps: int
) -> None:
    make: Callable[[Any], Optimizer] = lambda p: SGD(p, lr=0.1)  # noqa: E731
    trainer = Adding(lambda: nn.Linear(2, 1), optimizer=make, defaults=False)
    with caplog.at_level(logging.WARNING, "trackside"):
        trainer.fit([[REAL]] * steps, epochs=1)
    assert [r.message for r in caplog.records if "give their sum" in r.message] == [
        "gradients that were there before `optimize` are dropped, at step 0: it begins without "
        "any; to apply several losses at once, give their sum"
    ]


def test_gradients_from_before_the_run_are_in_no_update() -> None:
    model = nn.Linear(2, 1)
    before = model.weight.detach().clone()
    model(REAL).mean().backward()
    trainer = Adding(model, optimizer=lambda p: SGD(p, lr=0.1), defaults=False)
    trainer.manual_optimization = False
    trainer.training_step = lambda run, batch: run.model(batch[0]).mean() * 0  # type: ignore[method-assign]
    trainer.fit([[REAL]], epochs=1)
    assert same(model.weight, before)
