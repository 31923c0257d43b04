"""Callbacks that a trainer or its model declares, and the word that the trainer is made."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from trackside import Callback, Run, Trainer
from trackside.errors import ConfigurationError, UsageError
from trackside.testing import Task, tiny_regression


class Noting(Callback):
    """Notes what it hears."""

    def __init__(self, note: str = "") -> None:
        self.note = note
        self.heard: list[Any] = []

    def trainer_made(self, trainer: Any) -> None:
        self.heard.append(trainer)

    def on_fit_start(self, run: Run) -> None:
        self.heard.append("fit")


class RankZero(Noting):
    rank_zero_only = True


class Own(Trainer):
    def configure_callbacks(self) -> Any:
        return {"noting": Noting("the trainer's")}


class Declaring(nn.Linear):
    """A model with a callback of its own."""

    def configure_callbacks(self) -> Any:
        return [Noting("the model's")]


def trainer_of(kind: type[Trainer], task: Task, **options: Any) -> Trainer:
    given = {"model": task.model, "loss": task.loss, "optimizer": task.optimizer, **options}
    return kind(defaults=False, **given)


def notes(trainer: Trainer) -> list[str]:
    return [one.note for one in trainer.callbacks if isinstance(one, Noting)]


def test_a_callback_hears_that_its_trainer_is_made_once_and_before_any_run() -> None:
    task, noting = tiny_regression(), Noting()
    trainer = task.trainer(callbacks=[noting])
    at_once = list(noting.heard)
    trainer.fit(task.train, epochs=1)
    trainer.fit(task.train, epochs=1)

    assert at_once == [trainer]
    assert noting.heard == [trainer, "fit", "fit"]


def test_one_that_is_added_later_hears_of_its_trainer_when_a_run_begins() -> None:
    task, noting = tiny_regression(), Noting()
    trainer = task.trainer()
    trainer.callbacks.append(noting)
    trainer.fit(task.train, epochs=1)

    assert noting.heard == [trainer, "fit"]


def test_on_other_ranks_one_for_rank_zero_does_not_hear_of_its_trainer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for variable, value in place.items():
        monkeypatch.setenv(variable, value)
    noting = RankZero()
    tiny_regression().trainer(callbacks=[noting])

    assert noting.heard == []


def test_a_trainer_s_class_declares_callbacks() -> None:
    task = tiny_regression()
    trainer = trainer_of(Own, task)
    trainer.fit(task.train, epochs=1)

    assert trainer.callbacks["noting"].heard == [trainer, "fit"]


def test_a_model_declares_callbacks() -> None:
    task = tiny_regression()
    trainer = trainer_of(Trainer, task, model=Declaring(2, 1))
    trainer.fit(task.train, epochs=1)

    assert trainer.callbacks[Noting].heard == [trainer, "fit"]


@pytest.mark.parametrize("given", [[Noting("given")], {"noting": Noting("given")}])
def test_a_declared_callback_gives_way_to_one_of_its_class_or_its_name(given: Any) -> None:
    trainer = trainer_of(Own, tiny_regression(), callbacks=given)

    assert notes(trainer) == ["given"]


def test_a_declared_callback_is_removed_by_its_name() -> None:
    assert notes(trainer_of(Own, tiny_regression(), callbacks={"noting": None})) == []


def test_the_name_to_remove_has_to_be_there() -> None:
    with pytest.raises(ConfigurationError, match="named 'notting' to remove"):
        trainer_of(Own, tiny_regression(), callbacks={"notting": None})


def test_what_declares_no_callbacks_is_told_of() -> None:
    class Wrong(Trainer):
        def configure_callbacks(self) -> Any:
            return 3

    with pytest.raises(UsageError, match="`configure_callbacks` returns no callbacks"):
        trainer_of(Wrong, tiny_regression())


def test_a_model_that_is_made_for_each_run_brings_its_callbacks_each_time() -> None:
    task = tiny_regression()
    trainer = trainer_of(Trainer, task, model=lambda: Declaring(2, 1))
    trainer.fit(task.train, epochs=1)
    first = trainer.callbacks[Noting]
    trainer.fit(task.train, epochs=1)

    assert trainer.callbacks[Noting] is not first
    assert notes(trainer) == ["the model's"]


def test_a_given_callback_stays_where_the_model_that_is_made_declares_another() -> None:
    task = tiny_regression()
    trainer = trainer_of(
        Trainer, task, model=lambda: Declaring(2, 1), callbacks={"mine": Noting("given")}
    )
    trainer.fit(task.train, epochs=1)

    assert notes(trainer) == ["given"]
