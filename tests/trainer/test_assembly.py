"""What is known of a run where its parts are made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LinearLR, OneCycleLR
from torch.utils.data import TensorDataset

from trackside import Callback, Run, Trainer
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
