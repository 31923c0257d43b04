"""A run goes on with another number of ranks: at the same sample, or the epoch begins again."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from tests.simulated_ranks import SimulatedRanks
from trackside import World
from trackside.data.source import DataSource
from trackside.loop import elastic

DATA = TensorDataset(torch.arange(24.0))


class Divided:
    """A loader that knows its place, and can be divided again."""

    def __init__(self) -> None:
        self.states: list[Any] = []

    def __iter__(self) -> Any:
        return iter([])

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise AssertionError("it is not the state of one rank")

    def load_rank_states(self, states: list[Any]) -> None:
        self.states = states


def shared_state(*, inside: bool, batches: int = 3) -> dict[str, Any]:
    return {
        "loop": {
            "phase": "training" if inside else "between",
            "built": {"data": {"batch_size": 4, "begun": [0, 0]}},
        },
        "progress": {
            "batches_completed": 10 + batches,
            "batches_before_epoch": 10,
            "samples_completed": 100,
            "samples_before_epoch": 76,
            "epochs_completed": 2,
        },
    }


def take_place(
    data: object, saved: str | None, *, world: World | None = None, inside: bool = True, by: int = 2
) -> tuple[int | None, dict[str, Any], dict[str, Any], DataSource]:
    """Take up what `by` ranks have saved in the middle of an epoch."""
    source = DataSource("train", data, 4, world=world, training=True)
    state: dict[str, Any] = {"epoch_start": None, "loader": {"rank": 0}}
    kept = state if saved is None else {**state, "sharing": saved}
    checkpoint: Any = SimpleNamespace(
        manifest=SimpleNamespace(world_size=by), rank_state=lambda rank: {"data": kept}
    )
    training: Any = SimpleNamespace(
        setup=SimpleNamespace(sources={"train": source}),
        run=SimpleNamespace(world=world or World()),
        position=SimpleNamespace(begun=(0, 0)),
    )
    shared = shared_state(inside=inside)
    own: dict[str, Any] = {"data": kept, "log": {"train/loss": {"epoch": 1}, "mine": {"epoch": 1}}}
    return elastic.take_place(training, checkpoint, shared, own), shared, own, source


def strided(ranks: int, rank: int = 0) -> DataLoader[Any]:
    return DataLoader(DATA, 4, sampler=DistributedSampler(DATA, ranks, rank))


@pytest.mark.parametrize("saved", ["shared", None], ids=str)
def test_data_that_is_shared_out_goes_on_at_the_same_sample(
    saved: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    _, shared, own, _ = take_place(DATA, saved)

    assert own["data"] is not None
    assert shared["loop"]["phase"] == "training"
    assert "at the same sample" in caplog.text


@pytest.mark.parametrize(
    "data", [iter([torch.ones(4)]), strided(1)], ids=["batches", "another kind"]
)
def test_each_rank_s_own_data_begins_its_epoch_again_and_that_is_said(
    data: object, caplog: pytest.LogCaptureFixture
) -> None:
    _, shared, own, _ = take_place(data, "own")

    assert own["data"] is None
    assert shared["loop"]["phase"] == "between"
    assert "Epoch 3 begins again: the 24 samples" in caplog.text
    assert "the same sample" not in caplog.text
    assert own["log"] == {"train/loss": {"epoch": None}, "mine": {"epoch": 1}}


def test_between_two_epochs_nothing_is_trained_on_again(caplog: pytest.LogCaptureFixture) -> None:
    _, shared, _, _ = take_place(iter([torch.ones(4)]), "own", inside=False)

    assert shared["loop"]["phase"] == "between"
    assert "goes on with the next epoch" in caplog.text


def test_a_loader_that_divides_itself_gets_the_states_of_all_ranks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = Divided()
    _, shared, own, source = take_place(data, "own")
    source.load_state_dict({**own["data"], "own_generators": []})

    assert data.states == [{"rank": 0}, {"rank": 0}]
    assert shared["loop"]["phase"] == "training"
    assert "has divided what is left" in caplog.text


@pytest.mark.parametrize(("by", "ranks", "taken"), [(2, 1, 24), (1, 2, 6), (2, 3, 8), (1, 5, None)])
def test_a_distributed_sampler_goes_on_where_ranks_have_taken_equally_many(
    by: int, ranks: int, taken: int | None
) -> None:
    def program(world: World) -> int | None:
        data = strided(world.size, world.rank)
        return take_place(data, "strided", world=world if ranks > 1 else None, by=by)[0]

    assert SimulatedRanks(ranks).run(program) == [taken] * ranks


def test_the_place_is_counted_in_batches_of_these_ranks() -> None:
    source = DataSource("train", strided(1), 4, training=True)
    training: Any = SimpleNamespace(
        setup=SimpleNamespace(sources={"train": source}),
        run=SimpleNamespace(
            progress=SimpleNamespace(batches_completed=30, batches_before_epoch=27)
        ),
        position=SimpleNamespace(begun=(0, 0)),
    )
    elastic.keep_place(training, 6)

    assert training.run.progress.batches_before_epoch == 29
    assert training.position.begun == (1, 2)


def test_nothing_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    take_place(DATA, "shared")

    assert [record.levelno for record in caplog.records] == [logging.WARNING]
