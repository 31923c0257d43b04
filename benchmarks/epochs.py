"""Short epochs: 20 of 50 training and 50 evaluation steps, early stopping, the best weights kept.

MLP 64-128-10, batch 32, in-memory batches, one thread. The raw loop does by hand what is needed:
means of both losses, a counter of patience, and the best weights written as one safetensors file.
What a trainer does between epochs weighs more here than what it does in a step.

    python -m benchmarks.epochs
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.report import Figure, main, quiet, ratios
from benchmarks.task import batches, build
from trackside import Settings, Trainer
from trackside.callbacks import BestCheckpoint, EarlyStopping

EPOCHS, STEPS, PATIENCE = 20, 50, 20
ROUNDS = 9


def by_hand(train: list[Any], validation: list[Any], folder: Path) -> float:
    """The best loss of the evaluations."""
    model, loss_of, optimizer_of = build()
    optimizer = optimizer_of(model.parameters())
    best, waited = float("inf"), 0
    for _ in range(EPOCHS):
        pass_by_hand(model, loss_of, optimizer, train)
        value = evaluate_by_hand(model, loss_of, validation)
        if value < best:
            best, waited = value, 0
            save_file(model.state_dict(), folder / "best.safetensors")
        else:
            waited += 1
            if waited >= PATIENCE:
                break
    return best


def pass_by_hand(model: nn.Module, loss_of: nn.Module, optimizer: Any, data: list[Any]) -> float:
    """The mean loss of the steps."""
    model.train()
    total = torch.zeros(())
    for inputs, target in data:
        loss = loss_of(model(inputs), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total += loss.detach()
    return (total / len(data)).item()


def evaluate_by_hand(model: nn.Module, loss_of: nn.Module, data: Any) -> float:
    """The mean loss of the evaluation."""
    model.eval()
    total = torch.zeros(())
    with torch.no_grad():
        for inputs, target in data:
            total += loss_of(model(inputs), target)
    return (total / len(data)).item()


def trained(train: list[Any], validation: list[Any], folder: Path, *, defaults: bool) -> float:
    """The same by the trainer."""
    model, loss_function, optimizer_of = build()
    trainer = Trainer(
        model,
        loss=loss_function,
        optimizer=optimizer_of,
        callbacks=[EarlyStopping("val/loss", patience=PATIENCE), BestCheckpoint("val/loss")],
        defaults=defaults,
        settings=Settings(device="cpu", directory=folder),
    )
    result = trainer.fit(train, validation, epochs=EPOCHS)
    return min(result.history.values("val/loss"))


def timed(act: Callable[[Path], float], expected: float | None = None) -> float:
    """Seconds of `act` in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        started = perf_counter()
        best = act(Path(folder))
        seconds = perf_counter() - started
    assert expected is None or abs(best - expected) < 1e-5, (best, expected)
    return seconds


def measure() -> list[Figure]:
    """All figures of short epochs."""
    torch.set_num_threads(1)
    data = batches(2 * STEPS)
    train, validation = data[:STEPS], data[STEPS:]
    with tempfile.TemporaryDirectory() as folder:
        expected = by_hand(train, validation, Path(folder))
    name = "20 epochs of 50 + 50 steps, early stopping, best weights, over the same by hand"

    def variant(*, defaults: bool) -> Callable[[], float]:
        act = quiet(lambda folder: trained(train, validation, folder, defaults=defaults))
        return lambda: timed(act, expected)

    return ratios(
        {
            name: variant(defaults=False),
            f"{name}: with the default callbacks": variant(defaults=True),
        },
        lambda: timed(lambda folder: by_hand(train, validation, folder), expected),
        rounds=ROUNDS,
        budgets={f"{name}: with the default callbacks": 1.15},
    )


if __name__ == "__main__":
    main("epochs", measure)
