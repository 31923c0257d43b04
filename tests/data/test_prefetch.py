"""Batches that are on their way early are the same batches, in order, and a resume stays exact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from tests.device import NAME
from trackside import Callback, Run, Settings, Trainer
from trackside.callbacks import Checkpoint
from trackside.data.loaded import LoadedBatch, Origin, numbered
from trackside.data.prefetch import SMALL_BATCH_BYTES, Transfer, chosen_way, prefetcher_for
from trackside.data.source import DataSource
from trackside.errors import ConfigurationError

CPU = torch.device("cpu")
DEVICES = sorted({"cpu", NAME})


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Draws from the generator that dropout draws from, where it is read in the same process."""

    def __len__(self) -> int:
        return 22

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.full((3,), index / 22) + 0.1 * torch.rand(3), torch.tensor([float(index)])


def loader(kind: str) -> DataLoader[Any]:
    if kind == "tensors":
        rows = torch.arange(66.0).reshape(22, 3) / 66
        return DataLoader(TensorDataset(rows, rows.sum(1, keepdim=True)), 4, shuffle=True)
    return DataLoader(Noisy(), 4, shuffle=True, num_workers=kind == "workers")


KINDS = ["tensors", "workers", "read in this process"]


HALFWAY = 8
"""Two steps into the second epoch."""


class SaveHalfway(Callback[Any]):
    def on_step_end(self, run: Run) -> None:
        if run.progress.steps_completed == HALFWAY:
            run.save("halfway")


def train(
    kind: str, prefetch: int, device: str = "cpu", resume: int | None = None
) -> tuple[list[Any], list[Tensor]]:
    """Losses of all steps, and the weights at the end."""
    trainer = Trainer(
        lambda: nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1)),
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.01),
        callbacks=[Checkpoint(keep_last=99), SaveHalfway()],
        defaults=False,
        seed=0,
        settings=Settings(
            device=device, directory="run", log_every="1 step", prefetch_batches=prefetch
        ),
    )
    result = trainer.fit(loader(kind), loader(kind), epochs=3, resume=resume)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in result.history.rows()]
    return rows, [p.detach().cpu() for p in trainer.models["model"].parameters()]


def same(one: tuple[list[Any], list[Tensor]], other: tuple[list[Any], list[Tensor]]) -> bool:
    return one[0] == other[0] and all(map(torch.equal, one[1], other[1]))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_training_is_bit_for_bit_what_it_is_without_prefetching(kind: str, device: str) -> None:
    assert same(train(kind, 3, device), train(kind, 0, device))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_resumed_within_an_epoch_is_the_unbroken_one(kind: str) -> None:
    expected = train(kind, 0)
    train(kind, 2)

    assert same(train(kind, 2, resume=HALFWAY), expected)


@pytest.mark.parametrize(("kind", "ahead"), [("tensors", 2), ("read in this process", 0)])
def test_batches_are_fetched_ahead_where_that_draws_nothing(kind: str, ahead: int) -> None:
    fetched: list[int] = []

    def watched(batches: Iterator[Any]) -> Iterator[Any]:
        for number, batch in enumerate(batches, start=1):
            fetched.append(number)
            yield batch

    source = DataSource("train", loader(kind), 1)
    prefetcher = prefetcher_for(CPU, 2)
    assert prefetcher is not None
    batches = prefetcher(watched(source.begin(0)), source)
    for taken in range(1, 7):
        next(batches)
        assert fetched[-1] == min(taken + ahead, 6)
    assert list(batches) == []


def test_an_error_of_the_data_comes_at_its_turn() -> None:
    def failing() -> Iterator[LoadedBatch]:
        yield from numbered([torch.tensor(0), torch.tensor(1)])
        raise OSError("no such file")

    source = DataSource("train", loader("tensors"), 1)
    prefetcher = prefetcher_for(CPU, 4)
    assert prefetcher is not None
    batches = prefetcher(failing(), source)

    assert [int(next(batches).data), int(next(batches).data)] == [0, 1]
    with pytest.raises(OSError, match="no such file"):
        next(batches)


def test_on_a_device_that_gains_nothing_batches_come_as_they_are() -> None:
    assert prefetcher_for(CPU, None) is None
    assert prefetcher_for(CPU, 0) is None


def test_a_number_that_gains_nothing_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    prefetcher = prefetcher_for(CPU, 2)
    assert "prefetch_batches=2 saves nothing" in caplog.text

    source = DataSource("train", loader("read in this process"), 1)
    caplog.clear()
    assert prefetcher is not None
    for _ in range(2):
        list(prefetcher(source.begin(0), source))
    assert caplog.text.count("prefetch_batches=2 has no effect on the data named 'train'") == 1


@pytest.mark.parametrize("count", [-1, 1.5, True])
def test_what_is_no_count_is_refused(count: Any) -> None:
    with pytest.raises(ConfigurationError, match="number of batches"):
        prefetcher_for(CPU, count)


class WrittenDown:
    """Streams of a device that isn't there: writes down what is asked of it, in order."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.marks = 0

    def pin(self, tensor: Tensor) -> Tensor:
        self.said.append(f"pin {tensor.flatten()[0]:g}")
        return tensor

    @contextmanager
    def aside(self) -> Iterator[None]:
        self.said.append("aside")
        yield
        self.said.append("back")

    def mark(self) -> int:
        self.marks += 1
        self.said.append(f"mark {self.marks}")
        return self.marks

    def wait(self, mark: Any) -> None:
        self.said.append(f"wait {mark}")

    def keep(self, tensor: Tensor) -> None:
        self.said.append(f"keep {tensor.flatten()[0]:g}")


def test_each_batch_is_copied_aside_and_waited_for_before_it_is_used() -> None:
    streams = WrittenDown()
    source = DataSource("train", loader("tensors"), 1)
    prefetcher = prefetcher_for(CPU, 1, streams)
    assert prefetcher is not None
    loaded = numbered([{"x": torch.tensor(1.0)}, [torch.tensor(2.0), "name"]])
    batches = prefetcher(loaded, source)

    assert next(batches).data["x"] == 1
    assert streams.said == [
        *("pin 1", "aside", "mark 1", "back"),
        *("pin 2", "aside", "mark 2", "back"),
        *("wait 1", "keep 1"),
    ]
    assert next(batches).data[1] == "name"
    assert streams.said[-2:] == ["wait 2", "keep 2"]


@pytest.mark.parametrize(
    ("rows", "aside"), [(SMALL_BATCH_BYTES // 4 - 1, False), (SMALL_BATCH_BYTES // 4, True)]
)
def test_small_batches_are_moved_at_their_step_where_nobody_says_otherwise(
    rows: int, aside: bool
) -> None:
    streams = WrittenDown()
    source = DataSource("train", loader("tensors"), 1)
    prefetcher = prefetcher_for(CPU, None, streams)
    assert prefetcher is not None
    first, second = torch.ones(rows), torch.ones(1)

    came = [batch.data for batch in prefetcher(iter(numbered([[first], [second]])), source)]

    assert came[0][0] is first
    assert came[1][0] is second
    assert ("aside" in streams.said) is aside


def test_a_batch_that_moves_by_a_way_of_its_own_is_moved_where_it_is_used() -> None:
    class Graph:
        def to(self, device: Any) -> Graph:
            return self

    streams, graph = WrittenDown(), Graph()
    transfer = Transfer(CPU, streams)

    loaded = LoadedBatch([graph, torch.tensor(1.0)], Origin(0))
    assert transfer.receive(transfer.send(loaded)).data[0] is graph
    assert streams.said == []


# --- in words, for `plan` ------------------------------------------------------------------------

GPU = torch.device("cuda")
SMALL = DataLoader(TensorDataset(torch.ones(8, 4)), 2)
LARGE = DataLoader(TensorDataset(torch.ones(4, SMALL_BATCH_BYTES // 4)), 1)
ASIDE = "copied beside the device's work, from pinned memory"


@pytest.mark.parametrize(
    ("device", "prefetch", "data", "way"),
    [
        (CPU, None, LARGE, "used where they are"),
        (GPU, None, SMALL, "moved when their step begins: 32 bytes are copied at once"),
        (GPU, None, LARGE, f"{ASIDE}; ahead of their step: 1"),
        (GPU, 3, SMALL, f"{ASIDE}; ahead of their step: 3"),
        (GPU, 0, LARGE, "moved when their step begins: prefetch_batches=0"),
        (GPU, 1, DataLoader(Noisy(), 2), f"{ASIDE}; none ahead: this process reads the data"),
        (torch.device("mps"), None, LARGE, "moved when their step begins: mps can't copy"),
        (GPU, None, iter([torch.ones(1)]), "the size of the first one decides"),
    ],
)
def test_the_way_of_batches_can_be_told_before_the_first_step(
    device: torch.device, prefetch: int | None, data: Any, way: str
) -> None:
    told = chosen_way(device, prefetch, DataSource("train", data, 1))
    assert told.startswith(way)
