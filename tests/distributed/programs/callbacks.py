"""Callbacks that touch weights, gradients and data, on one rank or several."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from claims import claim
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchmetrics.classification import MulticlassF1Score

from trackside import Callback, Run, Settings, Trainer, accuracy
from trackside.callbacks import (
    EMA,
    SWA,
    AccumulationSchedule,
    Artifacts,
    BatchLimit,
    Checkpoint,
    ClipGradients,
    Evaluate,
    GradientNoise,
    GradientNorm,
    Histograms,
    LRFinder,
    LRScheduler,
    ParameterNorm,
    ParameterSchedule,
    TransferWeights,
    TuneFSDP,
    Unfreeze,
)
from trackside.tracking.media import File

CASES = (
    "averages",
    "averages with a finder",
    "gradients",
    "clip by value",
    "schedules",
    "noise",
    "tuning",
    "limits",
    "evaluations",
)
PARALLEL = os.environ.get("PARALLEL", "auto")


class Slow(Dataset[Any]):
    """Without a fast path, so that loaders with samplers are what is tested."""

    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        return self.data[index]


def data(samples: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(samples)
    inputs = torch.randn(samples, 8, generator=generator, dtype=torch.float64)
    return TensorDataset(inputs, (inputs.sum(1) > 0).long())


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.0), nn.Linear(16, 2)).double()


def metrics() -> dict[str, Any]:
    return {"accuracy": accuracy, "f1": MulticlassF1Score(2)}


def callbacks(what: str) -> list[Any]:
    """Those of one case."""
    made: dict[str, list[Any]] = {
        "averages": [EMA([0.9, 0.5], every="2 steps"), SWA("1 epoch")],
        "averages with a finder": [LRFinder(steps=12, plot=False), EMA(0.9)],
        "gradients": [
            ClipGradients(norm=0.3),
            GradientNorm("1 step", patterns=["0.*"]),
            ParameterNorm("1 step", patterns=["*.bias"]),
            Histograms("4 steps", bins=8),
        ],
        "clip by value": [ClipGradients(value=0.01)],
        "schedules": [
            AccumulationSchedule({1: 2}),
            LRScheduler("step", {"step_size": 3}, interval="step"),
            ParameterSchedule("optimizer.weight_decay", "linear", 0.5, 0.0, length="9 steps"),
            Unfreeze({"0": "1 epoch"}, lr_factor=0.5),
        ],
        "noise": [GradientNoise()],
        "limits": [BatchLimit(train=4, evaluation=3), EMA(0.9)],
        "tuning": [TuneFSDP(), EMA(0.9)],
        "evaluations": [
            EMA(0.9, evaluate=False),
            SWA("1 epoch"),
            Evaluate("val", "4 steps", record_as="own", batch_size=5, average="ema"),
            Evaluate("val", record_as="trained", average=False, metrics=metrics()),
            Evaluate("train", record_as="again", sampler=range(0, 48, 3), average="swa"),
        ],
    }
    return made[what]


def trainer(what: str, directory: Path, *more: Any) -> Trainer:
    return Trainer(
        model,
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda p: torch.optim.AdamW(p, lr=0.01),
        seed=1,
        accumulate=2 if what == "noise" else 1,
        settings=Settings(directory=directory, log_every="1 step", strategy=PARALLEL),
        defaults=False,
        callbacks=[*callbacks(what), *more],
    )


def fit(trainer: Trainer, what: str, epochs: int, resume: str | None = None) -> Any:
    train = DataLoader(Slow(data(48)), 8, shuffle=True) if what != "gradients" else data(50)
    validation = data(61 if what == "limits" else 21)
    return trainer.fit(train, validation, epochs=epochs, batch_size=8, resume=resume)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return getattr(tensor.detach(), "full_tensor", tensor.detach)()


def contents(trainer: Trainer) -> list[list[float]]:
    """Weights and averages, whole."""
    tensors: list[torch.Tensor] = [*trainer.models["model"].parameters()]
    for callback in trainer.callbacks:
        if isinstance(callback, EMA):
            tensors += callback.weights(callback.decays[-1]).values()
    return [whole(tensor).flatten().tolist() for tensor in tensors]


def attempt(what: str, directory: Path) -> None:
    first = trainer(what, directory / what / "unbroken")
    result = fit(first, what, 3)
    drop = ("seconds", "lr_finder/suggestion")
    rows = [{k: v for k, v in r.items() if k not in drop} for r in result.history.rows()]
    claim(f"{what}: rows", rows)
    claim(f"{what}: contents", contents(first))
    if what == "gradients":
        with np.load(
            Path(str(first.settings.directory)) / "histograms/step-0000000004.npz"
        ) as arrays:
            claim("histograms", {name: arrays[name].tolist() for name in sorted(arrays)})
    if what in ("averages", "schedules") and PARALLEL != "fsdp":
        broken = directory / what / "broken"
        fit(trainer(what, broken, Checkpoint()), what, 2)
        resumed = trainer(what, broken, Checkpoint())
        fit(resumed, what, 3, "auto")
        claim(f"{what}: resumed as unbroken", contents(resumed) == contents(first))


class Pair(Trainer):
    """A teacher that stays, and a student that learns."""

    def configure_model(self, run: Run) -> Any:
        return {"student": model(), "teacher": model()}

    def configure_optimizers(self, run: Run) -> Any:
        return torch.optim.SGD(run.models["student"].parameters(), lr=0.1)

    def training_step(self, run: Run, batch: Any) -> Any:
        student: nn.Module = run.models["student"]
        return nn.functional.cross_entropy(student(batch[0]), batch[1])


class Parts(Callback):
    """Its constructor takes parts of the run."""

    def __init__(self, models: Any, world: Any, directory: Path) -> None:
        self.models, self.world, self.directory = models, world, directory

    def on_fit_start(self, run: Run) -> None:
        ours = (self.models == run.models, self.directory == run.directory)
        claim("parts", [self.world.rank, self.world.size, *ours])
        student, teacher = (weights(run, name) for name in ("student", "teacher"))
        claim("begins as its teacher", student == teacher)


def weights(run: Run, name: str) -> list[list[float]]:
    return [whole(one).flatten().tolist() for one in run.models[name].parameters()]


class Sent(Callback):
    """Keeps the names of the files that it gets."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_file(self, run: Any, name: str, file: File) -> None:
        self.names.append(name)


def hand_over(directory: Path) -> None:
    """Weights from model to model, and files to trackers."""
    sent = Sent()
    trainer = Pair(
        seed=1,
        settings=Settings(directory=directory, strategy=PARALLEL),
        defaults=False,
        callbacks=[
            TransferWeights("teacher", "student"),
            Parts,
            Artifacts(code=None, weights=True),
            sent,
        ],
    )
    trainer.fit(data(16), steps=2, batch_size=8)
    claim("sent", sent.names)
    ends = [whole(one).flatten().tolist() for one in trainer.models["student"].parameters()]
    claim("student", ends)
    kept = load_file(directory / "artifacts" / "student.safetensors")
    claim("kept", sorted(tensor.flatten().tolist() for tensor in kept.values()) == sorted(ends))


if __name__ == "__main__":
    for what in CASES:
        if what != "noise" or PARALLEL != "fsdp":  # sharded gradients are refused
            attempt(what, Path(sys.argv[1]))
    hand_over(Path(sys.argv[1]) / "hand over")
