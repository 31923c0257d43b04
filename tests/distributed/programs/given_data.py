"""Data that ranks have of their own, and what else must be one on all: one claim after another."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torchmetrics
from claims import claim
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import trackside
from trackside import Callback, Evaluation, Output, RankData, Run, Settings, Trainer
from trackside.callbacks import Checkpoint
from trackside.distributed.setup import RankInfo

HERE = RankInfo.from_environment()
X = torch.arange(24.0).unsqueeze(1)
DATA = TensorDataset(X)


class Taking(Trainer):
    """Notes what it gets."""

    seen: list[int]
    unsendable = False

    def note(self, batch: list[Tensor]) -> Tensor:
        self.seen += [int(number) for number in batch[0].flatten()]
        return torch.zeros(())

    def training_step(self, run: Any, batch: list[Tensor]) -> Tensor:
        loss: Tensor = run.model(batch[0] * 0).mean()
        return loss + self.note(batch)

    def evaluation_step(self, run: Any, batch: list[Tensor]) -> Output:
        self.note(batch)
        return Output(batch[0].mean(), batch[0].flatten(), (batch[0] % 2).flatten())

    def predict_step(self, run: Any, batch: list[Tensor]) -> Any:
        return {1, 2} if self.unsendable else batch[0]


class Stream(IterableDataset[Any]):
    """Batches of another size on each rank."""

    def __iter__(self) -> Iterator[list[Tensor]]:
        return iter([[torch.rand(8 - 3 * HERE.rank % 8, 1)] for _ in range(20)])


class Promising(Stream):
    """A stream that says its length, which differs between ranks."""

    def __len__(self) -> int:
        return 20 + 4 * HERE.rank

    def __iter__(self) -> Iterator[list[Tensor]]:
        return iter([[torch.rand(4, 1)] for _ in range(len(self))])


class Measures(Callback[Run]):
    """Measures a value that falls on rank 0 and rises on the others."""

    def on_measure(self, run: Run, values: dict[str, float]) -> None:
        values["own/value"] = run.progress.steps_completed * (2.0 * run.world.rank - 1)


class Kept(torchmetrics.Metric):
    """A list that nobody joins: as many tensors as the rank has batches."""

    items: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("items", default=[], dist_reduce_fx=None)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.items.append(prediction)

    def compute(self) -> Tensor:
        return torch.cat(self.items).sum()


class Watching(Callback):
    """Changes a metric on one rank, and hears of it on all; notes when it is evaluated."""

    def __init__(self) -> None:
        self.heard: list[float] = []
        self.evaluated: list[tuple[int, int]] = []

    def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
        self.evaluated.append((run.progress.steps_completed, run.progress.samples_completed))
        if run.world.is_global_zero:
            evaluation.metrics["val/mine"] = 7.0

    def on_log(self, run: Run, record: trackside.Record) -> None:
        self.heard += [record.values["val/mine"]] if "val/mine" in record.values else []


class Numbers(IterableDataset[Any]):
    """Each rank its own numbers."""

    def __iter__(self) -> Iterator[tuple[Tensor]]:
        return iter([(number,) for number in X[HERE.rank :: HERE.size]])


def trainer(*callbacks: Callback, folder: str = "any", **options: Any) -> Taking:
    made = Taking(
        nn.Linear(1, 1),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
        metrics={"kept": Kept()},
        callbacks=list(callbacks),
        seed=0,
        defaults=False,
        settings=Settings(directory=f"{sys.argv[1]}/{folder}", **options),
    )
    made.seen = []
    return made


sampler: DistributedSampler[Any] = DistributedSampler(DATA, HERE.size, HERE.rank)
one = trainer()
one.fit(DataLoader(DATA, batch_size=4, sampler=sampler), epochs=1)
claim("trained on", one.seen)

two = trainer()
metrics = two.evaluate(DataLoader(DATA, batch_size=7, sampler=sampler))
claim("evaluated", two.seen)
claim("metrics", metrics)

three = trainer()
stream = [X[i : i + 4] for i in range(HERE.rank * 4, 24, HERE.size * 4)]
metrics = three.evaluate(iter([[batch] for batch in stream]))
claim("streamed", three.seen)
claim("metrics of the stream", metrics)
predicted = trainer().predict(RankData(TensorDataset(X[HERE.rank :: HERE.size])), batch_size=5)
claim("predicted", predicted.flatten().tolist())

watching = Watching()
four = trainer(watching)
four.fit(
    DataLoader(Stream(), batch_size=None),
    DATA,
    steps=12,
    evaluate_every="40 samples",
    batch_size=24,
)
claim("evaluated at", watching.evaluated)
claim("heard", watching.heard)

for kind, data in {
    "own": DataLoader(Numbers(), batch_size=4),
    "strided": DataLoader(DATA, batch_size=2, sampler=sampler),
}.items():
    five = trainer(Checkpoint("2 steps", at_end=False), folder=kind)
    five.fit(data, steps=2)
    claim(f"{kind}: trained on", five.seen)

shares = trainer(Checkpoint("4 per epoch", keep_last=None, at_end=False), folder="shares")
shares.fit(DataLoader(Promising(), batch_size=None), epochs=1)
claim("saved by shares", sorted(one.name for one in Path(sys.argv[1]).glob("shares/*/step-*")))

best = Checkpoint(None, keep_best=1, monitor="own/value", mode="max", at_end=False)
measured = trainer(Measures(), best, folder="measured", log_every="2 steps")
claim("measured", measured.fit(DATA, batch_size=4, epochs=1).history.values("own/value"))

refused = trainer()
refused.unsendable = True
try:
    refused.predict(DATA, batch_size=2)
except trackside.TracksideError as error:
    made = refused.result.predictions if refused.result is not None else None
    claim("refused", [str(error).splitlines()[0], len(made or ())])
