"""LRScheduler moves rates as the trainer's own scheduler does."""

from __future__ import annotations

from typing import Any

import pytest
from torch.optim.lr_scheduler import ReduceLROnPlateau, SequentialLR, StepLR

from tests.callbacks.broken_runs import check_resumes_exactly
from trackside import Callback, Scheduler, Settings, Trainer
from trackside.callbacks.scheduling.lr_scheduler import LRScheduler
from trackside.errors import ConfigurationError, MonitorError
from trackside.run import Run
from trackside.testing import tiny_regression


class Rates(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_optimizer_step_start(self, run: Run, optimizer: Any) -> None:
        self.seen.append(optimizer.param_groups[0]["lr"])


def rates(*callbacks: Callback, **options: Any) -> list[float]:
    task, seen = tiny_regression(), Rates()
    trainer = task.trainer(callbacks=[*callbacks, seen], **options)
    trainer.fit(task.train, task.validation, epochs=3)
    return seen.seen


@pytest.mark.parametrize("per", ["step", "epoch"])
def test_it_moves_as_the_trainers_own_scheduler_does(per: Any) -> None:
    by_trainer = rates(scheduler=Scheduler(lambda o: StepLR(o, 2), interval=per))

    assert rates(LRScheduler("step", {"step_size": 2}, interval=per)) == by_trainer
    assert len(set(by_trainer)) > 1


def test_a_plateau_is_watched_once_per_epoch() -> None:
    by_trainer = rates(scheduler=Scheduler(lambda o: ReduceLROnPlateau(o, patience=0, threshold=1)))
    options = {"patience": 0, "threshold": 1}

    assert rates(LRScheduler("reduce_lr_on_plateau", options)) == by_trainer


def test_a_plateau_of_a_value_that_nothing_logs_is_refused_before_the_first_step() -> None:
    with pytest.raises(MonitorError, match="val/los"):
        rates(LRScheduler("reduce_lr_on_plateau", monitor="val/los"))


def test_an_epoch_that_is_left_in_its_middle_moves_nothing() -> None:
    task = tiny_regression()
    trainer = task.trainer(callbacks=[LRScheduler("step", {"step_size": 1})])
    trainer.fit(task.train, steps=4)
    state = trainer.callbacks.state_dict()["lr_scheduler"]["optimizer"]

    assert state["last_epoch"] == 1


def test_one_of_several_optimizers_can_be_named() -> None:
    task = tiny_regression()

    with pytest.raises(ConfigurationError, match="did you mean `optimizer`"):
        task.trainer(callbacks=[LRScheduler("step", {"step_size": 1}, optimizer="optimiser")]).fit(
            task.train, steps=1
        )


@pytest.mark.parametrize(
    ("scheduler", "options", "per"),
    [
        ("step", {"step_size": 2}, "step"),
        ("one_cycle", {"max_lr": 0.5, "total_steps": 12}, "step"),
        ("cyclic", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3}, "step"),
        ("cosine_annealing_warm_restarts", {"T_0": 2}, "epoch"),
        ("reduce_lr_on_plateau", {"patience": 0, "threshold": 1}, None),
        (
            lambda o: SequentialLR(o, [StepLR(o, 1), StepLR(o, 2, 0.5)], milestones=[4]),
            None,
            "step",
        ),
    ],
    ids=["step", "one cycle", "cyclic", "warm restarts", "plateau", "sequential"],
)
def test_a_resumed_run_goes_on_along_the_schedule(scheduler: Any, options: Any, per: Any) -> None:
    def make(more: list[Callback]) -> Trainer:
        task = tiny_regression()
        return task.trainer(
            callbacks=[LRScheduler(scheduler, options, interval=per), *more],
            settings=Settings(log_every="1 step"),
        )

    task = tiny_regression()
    check_resumes_exactly(make, lambda t: t.fit(task.train, task.validation, epochs=3), every_th=2)


def test_a_state_survives_a_round_trip_outside_of_a_run() -> None:
    task = tiny_regression()
    scheduler, other = (LRScheduler("step", {"step_size": 2}) for _ in range(2))
    task.trainer(callbacks=[scheduler]).fit(task.train, epochs=2)
    other.load_state_dict(scheduler.state_dict())

    assert other.state_dict() == scheduler.state_dict()


def test_a_plateau_waits_for_epochs_that_are_evaluated() -> None:
    def moved(**options: Any) -> list[float]:
        task, seen = tiny_regression(), Rates()
        callbacks = [*options.pop("callbacks", ()), seen]
        trainer = task.trainer(callbacks=callbacks, **options)
        trainer.fit(task.train, task.validation, epochs=6, evaluate_every="2 epochs")
        return seen.seen

    options = {"patience": 0, "threshold": 1}
    by_trainer = moved(scheduler=lambda o: ReduceLROnPlateau(o, patience=0, threshold=1))

    assert moved(callbacks=[LRScheduler("reduce_lr_on_plateau", options)]) == by_trainer
    assert len(set(by_trainer)) > 1
