"""A run that goes on from any safe point is the run that was never stopped."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from trackside import Callback, PeriodicCallback, Settings, Trainer
from trackside.checkpoint.saver import Saver
from trackside.loop.snapshot import restore
from trackside.loop.state import Training
from trackside.run import Run
from trackside.step.optimization import Scheduler


class Noisy(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Samples with random augmentation from all three generators."""

    def __len__(self) -> int:
        return 22

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.rand(3) + float(np.random.rand()) + random.random()
        return torch.full((3,), float(index) / 22) + 0.1 * noise, torch.tensor([float(index)])


class MemorySaver(Saver):
    """Keeps deep copies of every state that is saved."""

    needs_attention = False
    save_on_failure = False
    is_writing = False

    def __init__(self) -> None:
        self.states: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def root(self, run: Run) -> Path:
        return run.directory

    def prepare(self, run: Run, shared: dict[str, Any], own: dict[str, Any]) -> None:
        """Anything can be kept in memory."""

    def save(self, run: Run, shared: dict[str, Any], own: dict[str, Any], reason: str) -> None:
        self.states.append(copy.deepcopy((shared, own)))

    def poll(self, run: Run) -> None:
        """Nothing happens in the background."""

    def finish_saves(self, run: Run) -> None:
        """Nothing is under way."""


class SaveEverywhere(Callback):
    def __init__(self) -> None:
        self.saver = MemorySaver()

    def on_attach(self, run: Run) -> None:
        run.saver = self.saver

    def on_step_end(self, run: Run) -> None:
        run.save("step")

    def on_evaluation_end(self, run: Run, evaluation: Any) -> None:
        run.save("evaluation")

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        run.save("epoch")


class Counting(PeriodicCallback):
    """Has a state, and logs on a schedule that counts epochs or steps."""

    def __init__(self, every: str) -> None:
        super().__init__(every)
        self.fired = 0

    def on_due(self, run: Run) -> None:
        self.fired += 1
        run.log(f"fired/{run.callbacks.name_of(self)}", self.fired)

    def state_dict(self) -> dict[str, Any]:
        return {"fired": self.fired}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.fired = state["fired"]


@pytest.fixture(autouse=True)
def _resume_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def put_back(training: Training, which: Any, *, is_new_directory: bool) -> None:
        if which is not None:
            restore(training, *copy.deepcopy(which))

    monkeypatch.setattr("trackside.loop.resume.resume", put_back)


def model() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 1))


def trainer(saver: Callback | None, **options: Any) -> Trainer:
    callbacks = [Counting("1 epoch"), Counting("3 steps"), *([saver] if saver else [])]
    return Trainer(
        model,
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.AdamW(p, lr=0.01),
        scheduler=Scheduler(lambda o: torch.optim.lr_scheduler.StepLR(o, 3), interval="step"),
        callbacks=callbacks,
        defaults=False,
        seed=3,
        settings=Settings(log_every="4 steps"),
        **options,
    )


def rows(run: Any) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.history.rows()]


def weights(trainer: Trainer) -> list[torch.Tensor]:
    assert trainer._models is not None
    return [p.detach().clone() for p in trainer._models["model"].parameters()]


def loader(kind: str) -> DataLoader[Any]:
    data = Noisy()
    if kind == "workers":
        return DataLoader(data, batch_size=4, shuffle=True, num_workers=2)
    if kind == "persistent workers":
        return DataLoader(data, 4, shuffle=True, num_workers=1, persistent_workers=True)
    if kind == "weighted":
        return DataLoader(data, 4, sampler=WeightedRandomSampler(range(1, 23), 22))
    if kind == "own generator":
        return DataLoader(data, 4, shuffle=True, generator=torch.Generator().manual_seed(5))
    return DataLoader(data, batch_size=4, shuffle=True)


@pytest.mark.parametrize(
    ("kind", "evaluate_every", "accumulate", "every_th"),
    [
        ("plain", "1 epoch", 1, 1),
        ("plain", "4 steps", 2, 1),
        ("plain", "2 epochs", 3, 1),
        ("weighted", "1 epoch", 1, 3),
        ("own generator", "1 epoch", 1, 3),
        ("workers", "1 epoch", 1, 7),
        ("persistent workers", "1 epoch", 2, 5),
    ],
)
def test_resumed_from_any_safe_point_it_ends_bitwise_the_same(
    kind: str, evaluate_every: str, accumulate: int, every_th: int
) -> None:
    def fit(trainer: Trainer, state: Any = None) -> Any:
        return trainer.fit(
            loader(kind), Noisy(), epochs=3, evaluate_every=evaluate_every, resume=state
        )

    saver = SaveEverywhere()
    unbroken = trainer(saver, accumulate=accumulate)
    expected = fit(unbroken)
    assert len(saver.saver.states) > 10
    for state in saver.saver.states[::every_th]:
        resumed = trainer(None, accumulate=accumulate)
        torch.manual_seed(99)
        result = fit(resumed, state)
        where = (state[0]["loop"]["phase"], state[0]["progress"])
        assert rows(result) == rows(expected), where
        for a, b in zip(weights(resumed), weights(unbroken), strict=True):
            assert torch.equal(a, b), where
