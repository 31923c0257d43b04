"""Ways of training that people write by hand, compared with the loop written by hand: bit for bit.

Folds, a plateau that moves by steps, a frozen backbone with batch norm, fine-tuning with a rate for
each part. Others stand beside their subjects: a GAN in `test_leftovers.py`, fp16 with skipped
updates in `test_skipped_updates.py`, tokens in `step/test_accumulation.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from trackside import Settings, Trainer

INPUTS = torch.randn(24, 4, generator=torch.Generator().manual_seed(1)) * 3 + 1
TARGETS = torch.randn(24, 1, generator=torch.Generator().manual_seed(2))
EPOCHS = 3
Batches = list[tuple[Tensor, Tensor]]


def batches(samples: range | list[int]) -> Batches:
    """Batches of seven, the last one ragged."""
    chosen = list(samples)
    parts = [chosen[start : start + 7] for start in range(0, len(chosen), 7)]
    return [(INPUTS[part], TARGETS[part]) for part in parts]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)), nn.Linear(6, 1))


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def steps_by_hand(model: nn.Module, optimizer: Optimizer, data: Batches) -> Iterator[int]:
    """Train over `data` once; yields after each update."""
    for number, (inputs, target) in enumerate(data, start=1):
        loss = nn.functional.mse_loss(model(inputs), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        yield number


def trained(make: Any, optimizer: Callable[[Any], Optimizer], data: Batches, **options: Any) -> Any:
    """A trainer after its run."""
    fit = {name: options.pop(name) for name in ("validation", "evaluate_every") if name in options}
    trainer = Trainer(
        make,
        loss=nn.MSELoss(),
        optimizer=optimizer,
        defaults=False,
        settings=Settings(directory="run", device="cpu"),
        **options,
    )
    trainer.fit(data, epochs=EPOCHS, **fit)
    return trainer


def test_folds_are_loops_of_their_own() -> None:
    scores, expected = [], []
    for fold in range(3):
        held_out = range(8 * fold, 8 * fold + 8)
        train = batches([one for one in range(24) if one not in held_out])
        trainer = trained(net, lambda p: SGD(p, lr=0.05, momentum=0.9), train)
        scores.append(trainer.evaluate(batches(held_out))["test/loss"])

        model = net()
        optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
        for _ in range(EPOCHS):
            list(steps_by_hand(model, optimizer, train))
        assert same(state(trainer.models["model"]), state(model))
        model.eval()
        with torch.no_grad():
            errors = (model(INPUTS[list(held_out)]) - TARGETS[list(held_out)]).square()
        expected.append(float(errors.mean()))
    assert scores == pytest.approx(expected)
    assert len(set(scores)) == 3


def test_a_plateau_that_moves_by_steps_is_that_of_a_loop() -> None:
    train, held_out = batches(range(16)), batches(range(16, 24))

    def plateau(optimizer: Optimizer) -> ReduceLROnPlateau:
        return ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.2)

    trainer = trained(
        net,
        lambda p: SGD(p, lr=0.05),
        train,
        scheduler=plateau,
        validation=held_out,
        evaluate_every="2 steps",
    )

    model = net()
    optimizer = SGD(model.parameters(), lr=0.05)
    scheduler, done = plateau(optimizer), 0

    def evaluate() -> float:
        model.eval()
        with torch.no_grad():
            losses = [(nn.functional.mse_loss(model(x), y), len(x)) for x, y in held_out]
        model.train()
        return sum(float(loss) * count for loss, count in losses) / 8

    rates = []
    for _ in range(EPOCHS):
        for _ in steps_by_hand(model, optimizer, train):
            done += 1
            if done % 2 == 0:
                scheduler.step(evaluate())
                rates.append(optimizer.param_groups[0]["lr"])
    assert len(set(rates)) > 2, "the rate must have moved for this to say anything"
    assert same(state(trainer.models["model"]), state(model))


def test_a_frozen_backbone_with_batch_norm_is_that_of_a_loop() -> None:
    def frozen() -> nn.Sequential:
        model = net()
        model[0].requires_grad_(requires_grad=False).eval()
        return model

    train = batches(range(24))
    trainer = trained(frozen(), lambda p: SGD(p, lr=0.05), train, validation=batches(range(8)))

    model = frozen()
    before = state(model[0])
    optimizer = SGD(model[1].parameters(), lr=0.05)
    for _ in range(EPOCHS):
        model.train()
        model[0].eval()  # its running statistics stay
        list(steps_by_hand(model, optimizer, train))
    assert same(state(trainer.models["model"]), state(model))
    assert same(state(trainer.models["model"][0]), before)


def test_fine_tuning_with_a_rate_for_each_part_is_that_of_a_loop() -> None:
    pretrained = state(net())

    def loaded() -> nn.Sequential:
        model = net()
        model.load_state_dict(pretrained)
        nn.init.zeros_(model[1].weight)  # type: ignore[arg-type]
        return model

    def groups(model: nn.Sequential) -> list[dict[str, Any]]:
        return [
            {"params": model[0].parameters(), "lr": 0.001, "weight_decay": 0.1},
            {"params": model[1].parameters(), "lr": 0.05},
        ]

    class Tuned(Trainer):
        def configure_optimizers(self, run: Any) -> Optimizer:
            return SGD(groups(run.model), lr=0.01, momentum=0.9)

    train = batches(range(24))
    trainer = Tuned(
        loaded(),
        loss=nn.MSELoss(),
        defaults=False,
        clip=0.5,
        settings=Settings(directory="run", device="cpu"),
    )
    trainer.fit(train, epochs=EPOCHS)

    model = loaded()
    optimizer = SGD(groups(model), lr=0.01, momentum=0.9)
    for _ in range(EPOCHS):
        for inputs, target in train:
            nn.functional.mse_loss(model(inputs), target).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            optimizer.zero_grad()
    assert same(state(trainer.models["model"]), state(model))
