"""What is known of a run where its parts are made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LinearLR, OneCycleLR
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from trackside import Callback, Run, Trainer, UsageError
from trackside.callbacks import AccumulationSchedule, BatchLimit, LRScheduler

DATA = TensorDataset(torch.zeros(10, 1), torch.zeros(10, 1))


class Watching(Trainer):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: dict[str, int | None] = {}

    def configure_optimizers(self, run: Run) -> Any:
        self.seen["configure_optimizers"] = run.limit.total_steps
        return super().configure_optimizers(run)

    def on_optimizers_ready(self, run: Run) -> None:
        self.seen["on_optimizers_ready"] = run.limit.total_steps

    def on_fit_start(self, run: Run) -> None:
        self.seen["on_fit_start"] = run.limit.total_steps


def trainer(*callbacks: Callback[Any], kind: type[Trainer] = Trainer, **options: Any) -> Any:
    return kind(
        lambda: nn.Linear(1, 1),
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        callbacks=list(callbacks),
        defaults=False,
        **options,
    )


class Accumulating(Callback[Run]):
    def on_setup_start(self, run: Run) -> None:
        run.accumulate = 5


@pytest.mark.parametrize(
    ("callbacks", "accumulate", "limit", "steps"),
    [
        ([], 1, {"epochs": 3}, 15),
        ([], 2, {"epochs": 3}, 9),
        ([], 2, {"epochs": 3, "steps": 4}, 4),
        ([BatchLimit(train=3)], 2, {"epochs": 3}, 6),
        ([Accumulating()], 1, {"epochs": 3}, 3),
        ([AccumulationSchedule({0: 2})], 1, {"epochs": 3}, None),
    ],
)
def test_the_number_of_steps_is_known_where_optimizers_and_schedulers_are_made(
    callbacks: list[Callback[Any]], accumulate: int, limit: dict[str, int], steps: int | None
) -> None:
    made = trainer(*callbacks, kind=Watching, accumulate=accumulate)
    made.fit(DATA, batch_size=2, **limit)
    hooks = ("configure_optimizers", "on_optimizers_ready", "on_fit_start")
    assert made.seen == dict.fromkeys(hooks, steps)


@pytest.mark.parametrize("as_callback", [False, True])
def test_a_function_that_makes_a_scheduler_is_given_the_run_where_it_has_room_for_it(
    as_callback: bool,
) -> None:
    made: list[OneCycleLR] = []

    def one_cycle(optimizer: Any, run: Run) -> OneCycleLR:
        made.append(OneCycleLR(optimizer, 0.1, total_steps=run.limit.total_steps))
        return made[0]

    if as_callback:
        trainer(LRScheduler(one_cycle), accumulate=2).fit(DATA, epochs=3, batch_size=2)
    else:
        trainer(scheduler=one_cycle, accumulate=2).fit(DATA, epochs=3, batch_size=2)
    assert (made[0].total_steps, made[0].last_epoch) == (9, 9)


def test_a_scheduler_is_called_with_the_optimizer_alone_otherwise() -> None:
    made = trainer(scheduler=LinearLR).fit(DATA, epochs=1)
    assert made.outcome.exit_code == 0


# --- how data is cut into batches ----------------------------------------------------------------


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([(torch.zeros(1), torch.zeros(1))] * 10)


@pytest.mark.parametrize(
    "data", [DATA, Stream(), (torch.zeros(10, 1).numpy(), torch.zeros(10, 1).numpy())]
)
@pytest.mark.parametrize(("options", "batches"), [({}, 1), ({"batch_size": 4}, 3)])
def test_data_of_samples_is_cut_into_batches(
    data: Any, options: dict[str, Any], batches: int
) -> None:
    assert trainer().fit(data, epochs=1, **options).outcome.step == batches


def test_drop_last_leaves_out_a_last_training_batch_and_none_of_an_evaluation() -> None:
    seen = Samples()
    trainer(seen).fit(DATA, DATA, epochs=1, batch_size=4, drop_last=True)
    assert (seen.trained, seen.evaluated) == (8, 10)


@pytest.mark.parametrize("option", ["batch_size", "drop_last"])
def test_a_size_of_batches_is_refused_where_data_comes_in_batches(option: str) -> None:
    with pytest.raises(UsageError, match="has no effect: the data comes in batches") as info:
        trainer().fit(DataLoader(DATA, 5), epochs=1, **{option: True})
    assert info.value.option == option


@pytest.mark.parametrize("what", ["evaluate", "predict"])
def test_so_is_that_of_an_evaluation_or_a_prediction(what: str) -> None:
    with pytest.raises(UsageError, match="has no effect: the data comes in batches"):
        getattr(trainer(), what)(DataLoader(DATA, 5), batch_size=3)


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_a_size_of_batches_is_a_count(size: Any) -> None:
    with pytest.raises(UsageError) as info:
        trainer().fit(DATA, epochs=1, batch_size=size)
    assert info.value.option == "batch_size"


class Samples(Callback[Run]):
    def on_fit_end(self, run: Run) -> None:
        self.trained = run.progress.samples_completed

    def on_evaluation_end(self, run: Run, evaluation: Any) -> None:
        self.evaluated = evaluation.samples_completed
