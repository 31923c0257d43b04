"""Whatever loader is given, the trainer's batches are those of a plain pass over it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)
from torch.utils.data._utils.collate import default_collate_fn_map

from trackside import Callback, Output, Trainer
from trackside.data.source import DataSource
from trackside.data.tensors import TensorLoader, TensorMapping, fits

SAMPLES = 22


def inputs() -> Tensor:
    return torch.arange(SAMPLES * 2.0).reshape(SAMPLES, 2)


class Doubled(TensorDataset):
    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(2 * part for part in super().__getitem__(index))


class Own(Dataset[Any]):
    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: Any) -> dict[str, Tensor]:
        return {"x": inputs()[index]}


DATA_SETS: dict[str, Callable[[], Any]] = {
    "tensors": lambda: TensorDataset(inputs(), torch.arange(SAMPLES)),
    "mapping": lambda: TensorMapping({"x": inputs(), "y": torch.arange(SAMPLES)}),
    "not contiguous": lambda: TensorDataset(inputs().t().contiguous().t()),
    "subclass": lambda: Doubled(inputs()),
    "own": Own,
    "concatenated": lambda: ConcatDataset([TensorDataset(inputs()[:9]), Doubled(inputs()[9:])]),
}


class Backwards(SequentialSampler):
    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source) - 1, -1, -1))


class EvenFirst(RandomSampler):
    def __iter__(self) -> Iterator[int]:
        return iter([*range(0, SAMPLES, 2), *range(1, SAMPLES, 2)])


class Pairs(BatchSampler):
    def __iter__(self) -> Iterator[list[int]]:
        return (batch[:2] for batch in super().__iter__())


class Growing(Sampler[list[int]]):
    def __iter__(self) -> Iterator[list[int]]:
        return iter([[0], [1, 2], [3, 4, 5], [6, 7, 8, 9]])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def weights() -> list[float]:
    return [1.0 + place % 3 for place in range(SAMPLES)]


def with_size_changed(data: Any) -> DataLoader[Any]:
    loader = DataLoader(data, 8, shuffle=True)
    loader.batch_sampler.batch_size = 5  # type: ignore[union-attr]
    return loader


LOADERS: dict[str, Callable[[Any], DataLoader[Any]]] = {
    "in order": lambda data: DataLoader(data, 8),
    "in order, whole batches": lambda data: DataLoader(data, 8, drop_last=True),
    "shuffled": lambda data: DataLoader(data, 8, shuffle=True),
    "shuffled, whole batches": lambda data: DataLoader(data, 8, shuffle=True, drop_last=True),
    "loader's generator": lambda data: DataLoader(data, 8, shuffle=True, generator=seeded()),
    "first samples": lambda data: DataLoader(data, 8, sampler=SequentialSampler(range(20))),
    "first samples, shuffled": lambda data: DataLoader(data, 8, sampler=RandomSampler(range(20))),
    "fewer": lambda data: DataLoader(data, 8, sampler=RandomSampler(data, num_samples=20)),
    "more": lambda data: DataLoader(data, 8, sampler=RandomSampler(data, num_samples=40)),
    "replacement": lambda data: DataLoader(data, 8, sampler=RandomSampler(data, replacement=True)),
    "sampler's generator": lambda data: DataLoader(
        data, 8, sampler=RandomSampler(data, generator=seeded())
    ),
    "subset": lambda data: DataLoader(data, 8, sampler=SubsetRandomSampler(range(5, 18))),
    "weighted": lambda data: DataLoader(data, 8, sampler=WeightedRandomSampler(weights(), 30)),
    "part of a rank": lambda data: DataLoader(
        data, 8, sampler=DistributedSampler(data, num_replicas=2, rank=1)
    ),
    "list of places": lambda data: DataLoader(data, 8, sampler=[3, 1, 4, 1, 5, 9, 2, 6, 5, 3]),
    "kind of sequential": lambda data: DataLoader(data, 8, sampler=Backwards(data)),
    "kind of random": lambda data: DataLoader(data, 8, sampler=EvenFirst(data)),
    "batch sampler in order": lambda data: DataLoader(
        data, batch_sampler=BatchSampler(SequentialSampler(data), 8, False)
    ),
    "batch sampler of few": lambda data: DataLoader(
        data, batch_sampler=BatchSampler(RandomSampler(range(20)), 8, True)
    ),
    "batch sampler of a subset": lambda data: DataLoader(
        data, batch_sampler=BatchSampler(SubsetRandomSampler(range(11)), 4, False)
    ),
    "batch sampler by weight": lambda data: DataLoader(
        data, batch_sampler=BatchSampler(WeightedRandomSampler(weights(), 30), 8, False)
    ),
    "kind of batch sampler": lambda data: DataLoader(
        data, batch_sampler=Pairs(RandomSampler(data), 8, False)
    ),
    "growing batches": lambda data: DataLoader(data, batch_sampler=Growing()),
    "list of batches": lambda data: DataLoader(data, batch_sampler=[[1, 2], [7], [9, 3, 4]]),
    "own collate": lambda data: DataLoader(
        data, 8, collate_fn=lambda rows: default_collate(rows[1:])
    ),
    "another size": with_size_changed,
}


class Seen(Callback):
    """Notes each pass: the state of the generator when it begins, and its batches."""

    def __init__(self) -> None:
        self.states: list[Tensor] = []
        self.passes: list[list[Any]] = []

    def begin(self) -> None:
        self.states.append(torch.get_rng_state())
        self.passes.append([])

    def on_train_epoch_start(self, run: Any) -> None:
        self.begin()

    def on_evaluation_start(self, run: Any, evaluation: Any) -> None:
        self.begin()

    def on_predict_start(self, run: Any) -> None:
        self.begin()

    def on_batch_end(self, run: Any, batch: Any, output: Any) -> None:
        self.passes[-1].append(batch)

    def on_evaluation_batch_end(self, run: Any, evaluation: Any, batch: Any, output: Any) -> None:
        self.passes[-1].append(batch)

    def on_predict_batch_end(self, run: Any, batch: Any, prediction: Any) -> None:
        self.passes[-1].append(batch)


class Small(Trainer):
    def training_step(self, run: Any, batch: Any) -> Output:
        x = batch["x"] if isinstance(batch, dict) else batch[0]
        return Output(run.model(x).pow(2).mean())

    evaluation_step = training_step

    def predict_step(self, run: Any, batch: Any) -> Any:
        return run.model(batch["x"] if isinstance(batch, dict) else batch[0])


def small(seen: Callback) -> Small:
    optimizer = lambda parameters: torch.optim.SGD(parameters, lr=1e-6)  # noqa: E731
    return Small(
        lambda: nn.Linear(2, 1), optimizer=optimizer, callbacks=[seen], defaults=False, seed=0
    )


def rows(batch: Any) -> Any:
    if isinstance(batch, dict):
        return {name: (part.tolist(), part.stride()) for name, part in batch.items()}
    return type(batch), [(part.tolist(), part.stride()) for part in batch]


def plain(loader: DataLoader[Any], state: Tensor) -> list[Any]:
    torch.set_rng_state(state)
    return [rows(batch) for batch in loader]


@pytest.mark.parametrize("kind", DATA_SETS)
@pytest.mark.parametrize("loader", LOADERS)
def test_training_and_evaluation_and_prediction_see_the_batches_of_a_plain_pass(
    loader: str, kind: str
) -> None:
    data, make, seen = DATA_SETS[kind](), LOADERS[loader], Seen()
    trainer = small(seen)
    trainer.fit(make(data), make(data), epochs=1)
    trainer.predict(make(data))
    for state, batches in zip(seen.states, seen.passes, strict=True):
        assert [rows(batch) for batch in batches] == plain(make(data), state)
    assert len(seen.passes) == 3


@pytest.mark.parametrize("kind", DATA_SETS)
@pytest.mark.parametrize("loader", LOADERS)
def test_a_pass_that_is_taken_up_in_its_middle_goes_on_with_the_same_batches(
    loader: str, kind: str
) -> None:
    data, make = DATA_SETS[kind](), LOADERS[loader]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    source = DataSource("train", make(data), 1)
    source.begin(0)
    resumed = DataSource("train", make(data), 1)
    resumed.load_state_dict(source.state_dict())
    assert [rows(batch.data) for batch in resumed.resume(0, 2)] == plain(make(data), state)[2:]


def test_only_plain_loaders_over_plain_tensors_are_cut_out_of_them() -> None:
    cells = itertools.product(LOADERS, DATA_SETS)
    cut = {cell for cell in cells if fits(LOADERS[cell[0]](DATA_SETS[cell[1]]()))}
    in_order = ("in order", "in order, whole batches")
    shuffled = ("shuffled", "shuffled, whole batches", "another size")
    assert cut == set(itertools.product((*in_order, *shuffled), ("tensors", "mapping")))


class Marked(Tensor):
    pass


@pytest.mark.parametrize(
    "tensors",
    [
        (torch.zeros(4, 2).as_subclass(Marked),),
        (torch.zeros(4, 2, requires_grad=True),),
        (torch.zeros(4, 2, dtype=torch.complex64).conj(),),
        (torch.eye(4).to_sparse(),),
        (torch.zeros(1, 2).expand(4, 2),),
    ],
)
def test_tensors_that_stacking_may_change_are_left_to_the_loader(tensors: Any) -> None:
    assert not fits(DataLoader(TensorDataset(*tensors), 2))


@pytest.mark.parametrize("kind", [Tensor, tuple, object])
def test_collating_that_was_replaced_for_a_type_is_obeyed(
    kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(default_collate_fn_map, kind, lambda rows, **_: rows)
    assert not fits(DataLoader(TensorDataset(inputs()), 2))


def test_a_batch_size_that_is_changed_between_two_passes_is_that_of_the_second() -> None:
    loader = DataLoader(TensorDataset(inputs()), 8)
    source = DataSource("train", loader, 1)
    assert isinstance(source.loader, TensorLoader)
    first = [len(batch.data[0]) for batch in source.begin(0)]
    loader.batch_sampler.batch_size = 11  # type: ignore[union-attr]
    assert (first, [len(batch.data[0]) for batch in source.begin(1)]) == ([8, 8, 6], [11, 11])
