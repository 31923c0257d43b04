"""What holds for all dialects: turns of hooks, gradients and modes in them, missing optimizers."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from torch import nn

from tests.dialects.training import fit, trainer_of
from trackside import Callback as Native
from trackside import Evaluation, Run
from trackside.dialects import (
    adaptive_neural_network,
    dream_trainer,
    keras,
    nn_handler,
    noether,
    pytorch_accelerated,
    transformers,
)
from trackside.dialects.view import UnknownAttributeError, View
from trackside.errors import UsageError
from trackside.lifecycle.adoption import DIALECTS
from trackside.testing import tiny_classification

EVERY_UPDATE = noether.CallBackBaseConfig(every_n_updates=1)


# --- turns: each hook of theirs is over before the next begins ----------------------------------


class AcceleratedTurns(pytorch_accelerated.TrainerCallback):
    def __init__(self, name: str, seen: list[str]) -> None:
        self.name, self.seen = name, seen

    def on_evaluation_run_start(self, trainer: Any, **_: Any) -> None:
        self.seen.append(f"{self.name} run starts")

    def on_eval_epoch_start(self, trainer: Any, **_: Any) -> None:
        self.seen.append(f"{self.name} epoch starts")

    def on_eval_epoch_end(self, trainer: Any, **_: Any) -> None:
        self.seen.append(f"{self.name} epoch ends")

    def on_evaluation_run_end(self, trainer: Any, **_: Any) -> None:
        self.seen.append(f"{self.name} run ends")


class SecondTurns(AcceleratedTurns):
    """Another class: pytorch-accelerated takes one callback of each."""


def test_hooks_of_pytorch_accelerated_come_one_after_the_other() -> None:
    seen: list[str] = []
    trainer, task = trainer_of([AcceleratedTurns("A", seen), SecondTurns("B", seen)])
    trainer.evaluate(task.validation)

    whats = ("run starts", "epoch starts", "epoch ends", "run ends")
    assert seen == [f"{who} {what}" for what in whats for who in "AB"]


def test_hooks_of_dream_trainer_come_one_after_the_other() -> None:
    seen: list[str] = []

    class Turns(dream_trainer.Callback):
        def __init__(self, name: str) -> None:
            self.name = name

        def post_train_epoch(self, result: Any) -> None:
            seen.append(f"{self.name} trained")

        def post_epoch(self) -> None:
            seen.append(f"{self.name} over")

    fit(Turns("A"), Turns("B"), epochs=1)

    assert seen == ["A trained", "B trained", "A over", "B over"]


def test_hooks_of_noether_come_one_after_the_other() -> None:
    seen: list[str] = []

    class Turns(noether.PeriodicCallback):
        def track_after_update_step(self, **_: Any) -> None:
            seen.append(f"{self.name} tracks")

        def periodic_callback(self, **_: Any) -> None:
            seen.append(f"{self.name} is due")

    callbacks = [Turns(EVERY_UPDATE, name="A"), Turns(EVERY_UPDATE, name="B")]
    trainer, task = trainer_of(callbacks)
    trainer.fit(task.train, steps=1)

    assert seen == ["A tracks", "B tracks", "A is due", "B is due"]


def test_a_native_callback_hears_a_hook_once_and_before_the_second_turn() -> None:
    seen: list[str] = []

    class Ours(Native):
        def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
            seen.append("ours")

    trainer, task = trainer_of([AcceleratedTurns("A", seen), Ours()])
    trainer.evaluate(task.validation)

    assert seen[-3:] == ["A epoch ends", "ours", "A run ends"]


def test_a_call_of_the_second_turn_that_keeps_failing_is_switched_off() -> None:
    class Failing(dream_trainer.Callback):
        failures = 0

        def post_train_epoch(self, result: Any) -> None: ...

        def post_epoch(self) -> None:
            self.failures += 1
            raise ValueError("again")

    callback = Failing()
    trainer, task = trainer_of([callback])
    next(iter(trainer.callbacks)).on_error = "warn"
    trainer.fit(task.train, epochs=5)

    assert callback.failures == 3


@pytest.mark.parametrize("dialect", sorted(set(DIALECTS.values())))
def test_no_two_hooks_of_a_dialect_are_carried_in_the_same_turn(dialect: str) -> None:
    table = import_module(f"trackside.dialects.{dialect}").TABLE
    # Of these a callback has one: the newer name, or the call for a pass over data.
    either = {"on_batch_begin", "on_batch_end", "process_data"}
    turns = [
        (hook, row.turn)
        for name, row in table.items()
        if name not in either
        for hook in row.carriers
        if hook not in ("on_step_end", "on_batch_end", "on_close") or dialect == "noether"
    ]

    assert len(turns) == len(set(turns))


# --- gradients -----------------------------------------------------------------------------------


def _enabled(seen: dict[str, bool], name: str) -> Any:
    def hook(*_: Any, **__: Any) -> None:
        seen[name] = torch.is_grad_enabled()

    return hook


BASES: dict[str, tuple[Any, ...]] = {
    "adaptive_neural_network": (
        adaptive_neural_network.Callback,
        ("on_train_begin", "on_batch_begin", "on_backward_end", "on_batch_end", "on_epoch_end"),
    ),
    "dream_trainer": (
        dream_trainer.Callback,
        ("pre_fit", "pre_train_step", "pre_optimizer_step", "post_train_step", "post_epoch"),
    ),
    "keras": (keras.Callback, ("on_train_begin", "on_train_batch_end", "on_epoch_end")),
    "nn_handler": (nn_handler.Callback, ("on_train_begin", "on_train_batch_end", "on_epoch_end")),
    "pytorch_accelerated": (
        pytorch_accelerated.TrainerCallback,
        ("on_train_step_start", "on_train_step_end", "on_train_epoch_end", "on_eval_epoch_end"),
    ),
    "transformers": (
        transformers.TrainerCallback,
        ("on_step_begin", "on_pre_optimizer_step", "on_step_end", "on_evaluate"),
    ),
}


@pytest.mark.parametrize("dialect", BASES)
def test_hooks_may_compute_gradients_where_their_trainer_leaves_them_on(dialect: str) -> None:
    seen: dict[str, bool] = {}
    base, hooks = BASES[dialect]
    fit(type("Looks", (base,), {name: _enabled(seen, name) for name in hooks})(), epochs=1)

    assert seen == dict.fromkeys(hooks, True)


def test_a_penalty_added_in_backward_end_changes_the_update() -> None:
    class Penalty(adaptive_neural_network.Callback):
        def on_backward_end(self, batch_idx: int, trainer: Any, logs: Any = None) -> None:
            (0.1 * sum((p**2).sum() for p in trainer.model.parameters())).backward()

    def weights(*callbacks: Any) -> torch.Tensor:
        trainer, task = trainer_of(callbacks)
        trainer.fit(task.train, steps=1)
        return next(task.model.parameters()).detach().clone()

    assert not torch.equal(weights(), weights(Penalty()))


def test_noether_has_no_gradients_in_its_hooks() -> None:
    seen: dict[str, bool] = {}
    hooks = ("before_training", "track_after_update_step", "periodic_callback")
    methods = {name: _enabled(seen, name) for name in hooks}
    fit(type("Looks", (noether.PeriodicCallback,), methods)(EVERY_UPDATE), epochs=1)

    assert seen == dict.fromkeys(hooks, False)


# --- modes ---------------------------------------------------------------------------------------


def _mode(seen: dict[str, bool], name: str) -> Any:
    def hook(self: Any, *args: Any, **_: Any) -> None:
        trainer = getattr(self, "trainer", None) or getattr(self, "handler", None)
        if trainer is None:
            trainer = next(one for one in args if hasattr(one, "model"))
        seen[name] = trainer.model.training

    return hook


@pytest.mark.parametrize(
    ("base", "hooks"),
    [
        (adaptive_neural_network.Callback, ("on_epoch_end", "on_train_end")),
        (nn_handler.Callback, ("on_epoch_end", "on_train_end")),
        (
            pytorch_accelerated.TrainerCallback,
            ("on_training_run_epoch_end", "on_training_run_end"),
        ),
    ],
)
@pytest.mark.parametrize("validate", [True, False])
def test_after_a_validation_the_model_evaluates_as_it_does_there(
    base: Any, hooks: tuple[str, ...], validate: bool
) -> None:
    seen: dict[str, bool] = {}
    fit(
        type("Looks", (base,), {name: _mode(seen, name) for name in hooks})(),
        epochs=1,
        validate=validate,
    )

    assert seen == dict.fromkeys(hooks, not validate)


def test_a_callback_of_noether_that_looks_changes_no_statistics() -> None:
    class Looking(noether.PeriodicCallback):
        def periodic_callback(self, **_: Any) -> None:
            self.model(torch.ones(8, 4))

    def statistics(*callbacks: Any) -> torch.Tensor:
        task = tiny_classification()
        trainer, _ = trainer_of(callbacks, task=task)
        trainer.fit(task.train, epochs=1)
        norm = next(m for m in task.model.modules() if isinstance(m, nn.BatchNorm1d))
        assert norm.running_mean is not None
        return norm.running_mean

    assert torch.equal(statistics(), statistics(Looking(EVERY_UPDATE)))


def test_noether_has_the_model_in_evaluation_and_training_goes_on_in_training() -> None:
    seen: dict[str, bool] = {}
    periodic = ("before_training", "track_after_update_step", "periodic_callback", "after_training")
    hooks = (*periodic, "track_after_accumulation_step")
    methods = {name: _mode(seen, name) for name in hooks}
    fit(type("Looks", (noether.PeriodicCallback,), methods)(EVERY_UPDATE), epochs=1)

    assert seen == {**dict.fromkeys(periodic, False), "track_after_accumulation_step": True}


# --- a run without an optimizer ------------------------------------------------------------------


def test_an_evaluation_has_no_optimizer_to_show() -> None:
    class Looking(pytorch_accelerated.TrainerCallback):
        seen: Any = "nothing yet"

        def on_evaluation_run_start(self, trainer: Any, **_: Any) -> None:
            self.seen = trainer.optimizer

    callback = Looking()
    trainer, task = trainer_of([callback])
    trainer.evaluate(task.validation)

    assert callback.seen is None


def test_a_native_callback_that_asks_an_evaluation_for_its_optimizer_is_told() -> None:
    class Asks(Native):
        def on_evaluation_start(self, run: Run, evaluation: Evaluation) -> None:
            _ = run.optimizer

    trainer, task = trainer_of([Asks()])

    with pytest.raises(UsageError, match="has no optimizer"):
        trainer.evaluate(task.validation)


@pytest.mark.parametrize("name", ["dialect", "stands_for"])
def test_a_view_without_its_names_is_an_error_that_says_which(name: str) -> None:
    class Nameless(View):
        pass

    with pytest.raises(UnknownAttributeError, match=f"`Nameless` doesn't say its `{name}`"):
        getattr(Nameless(), name)
