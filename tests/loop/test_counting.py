"""Samples of a batch: as the step says, else the loader's sampler, else the batch's parts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from trackside import Output, Trainer, UsageError
from trackside.run import Run

ROWS = [torch.tensor([float(place)]) for place in range(10)]


class OfAnything(Trainer):
    """Its loss is the mean of the rows that `read` finds in a batch."""

    def __init__(self, read: Callable[[Any], list[float]], says: bool = False) -> None:
        super().__init__(
            lambda: nn.Linear(1, 1), optimizer=lambda p: torch.optim.SGD(p, lr=0.0), defaults=False
        )
        self.read, self.says = read, says

    def training_step(self, run: Run, batch: Any) -> Output:
        rows = self.read(batch)
        mean = torch.tensor(sum(rows) / len(rows))
        run.log("logged", mean)
        loss = sum(p.sum() for p in run.model.parameters()) * 0 + mean
        return Output(loss, samples=len(rows) if self.says else None)

    evaluation_step = training_step


def texts(rows: list[Any]) -> Any:
    return "\n".join(str(row.item()) for row in rows)


def time_first(rows: list[Any]) -> Any:
    return torch.stack(rows).T.repeat(5, 1), torch.stack(rows).flatten()


def lists(rows: list[Any]) -> Any:
    return rows, [{"box": row.repeat(3, 2)} for row in rows]


FORMS: dict[str, tuple[Any, Any]] = {
    "texts": (texts, lambda batch: [float(line) for line in batch.split("\n")]),
    "time first": (time_first, lambda batch: batch[0][0].tolist()),
    "lists": (lists, lambda batch: [row.item() for row in batch[0]]),
    "objects": (lambda rows: iter(rows), lambda batch: [row.item() for row in batch]),
}


class Batches:
    """Batches without a loader: nobody knows what was put in."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __iter__(self) -> Iterator[Any]:
        return (self.collate(ROWS[start : start + 4]) for start in (0, 4, 8))


def figures(trainer: Trainer, data: Any) -> list[float]:
    history = trainer.fit(data, data, epochs=1).history
    names = ("train/loss", "train/logged", "val/loss", "val/logged")
    assert trainer.result is not None
    found = {name: history.latest(name) for name in names}
    return [*(value for value in found.values() if value is not None), history[-1].samples]


BY_HAND = [4.5, 4.5, 4.5, 4.5, 10]


@pytest.mark.parametrize(("collate", "read"), FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("workers", [0, 1])
def test_the_sampler_tells_the_samples(collate: Any, read: Any, workers: int) -> None:
    if workers and collate is FORMS["objects"][0]:
        pytest.skip("iterators don't come back from workers")
    data: DataLoader[Any] = DataLoader(ROWS, 4, collate_fn=collate, num_workers=workers)  # type: ignore[arg-type]
    assert figures(OfAnything(read), data) == pytest.approx(BY_HAND)


@pytest.mark.parametrize(("collate", "read"), FORMS.values(), ids=FORMS.keys())
def test_the_step_tells_the_samples(collate: Any, read: Any) -> None:
    assert figures(OfAnything(read, says=True), Batches(collate)) == pytest.approx(BY_HAND)


def test_uncounted_batches_are_told_of_once() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        OfAnything(FORMS["texts"][1]).fit(Batches(texts), epochs=2)
    said = [str(one.message) for one in told if "how many samples" in str(one.message)]
    assert len(said) == 1
    assert "samples=n" in said[0]


def test_samples_that_are_no_number_are_refused() -> None:
    class Wrong(OfAnything):
        def training_step(self, run: Run, batch: Any) -> Output:
            return super().training_step(run, batch)._replace(samples=2.5)  # type: ignore[arg-type]

    with pytest.raises(UsageError, match=r"samples=2\.5"):
        Wrong(FORMS["texts"][1]).fit(Batches(texts), epochs=1)
