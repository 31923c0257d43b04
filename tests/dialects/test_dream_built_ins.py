"""The built-ins of Dream Trainer under their own names, its collection, its trainer's methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.dialects.training import trainer_of
from trackside import Settings, Trainer
from trackside.callbacks.performance.tune_fsdp import TuneFSDP
from trackside.callbacks.reporting.model_summary import ModelSummary
from trackside.callbacks.reporting.progress_bar import ProgressBar
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.dialects import dream_trainer
from trackside.dialects.dream_trainer import CheckpointParameters
from trackside.errors import ConfigurationError, MissingRequirementError, UnknownCallbackError
from trackside.testing import tiny_regression


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (dream_trainer.ProgressBar(), ProgressBar),
        (dream_trainer.TrainerSummary(depth=2), ModelSummary),
        (dream_trainer.OptimizeFSDP(prefetch=2), TuneFSDP),
    ],
)
def test_a_built_in_joins_as_ours_under_its_own_name(theirs: Any, ours: type) -> None:
    trainer, _ = trainer_of([theirs])

    assert isinstance(trainer.callbacks[type(theirs).__name__], ours)


@pytest.mark.parametrize(
    "make",
    [
        lambda: dream_trainer.ProgressBar(smoothing=0.5),
        lambda: dream_trainer.ProgressBar(metric="loss"),
        lambda: dream_trainer.LoggerCallback(code_dir="src"),
        lambda: dream_trainer.FindGraphBreaksCallback(skip=3),
        lambda: dream_trainer.ProfileCallback(None, memory_snapshot_enabled=True),
        lambda: dream_trainer.OptimizeFSDP(display=True),
        lambda: CheckpointParameters(checkpoint_every_n_train_epochs=1, pin_memory=True),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(make: Any) -> None:
    with pytest.raises(ConfigurationError, match="has no equal here"):
        make()


def test_checkpoints_are_kept_and_resumed() -> None:
    def train(epochs: int, resume: str | None) -> Any:
        config = CheckpointParameters(
            root_dir="saved", checkpoint_every_n_train_epochs=1, keep_top_k=2
        )
        trainer, task = trainer_of([dream_trainer.CheckpointCallback(config)])
        return trainer.fit(task.train, epochs=epochs, resume=resume)

    train(3, None)
    assert sorted(p.name for p in Path("run/saved").glob("step-*")) == [
        "step-0000000006",
        "step-0000000009",
    ]
    assert train(4, "auto").history.values("train/loss").__len__() == 4


def test_checkpoints_with_the_best_values_are_kept_in_the_direction_of_the_mode() -> None:
    config = CheckpointParameters(
        resume_mode="max", monitor="val/accuracy", checkpoint_every_n_val_epochs=2, keep_top_k=3
    )
    native = dream_trainer.CheckpointCallback(config).native

    assert isinstance(native, Checkpoint)
    assert (native.retention.monitor, native.retention.mode) == ("val/accuracy", "max")
    assert (native.retention.keep_best, str(native.every)) == (3, "2 epochs")


def test_a_checkpoint_is_due_on_one_schedule() -> None:
    with pytest.raises(ConfigurationError, match="due on one schedule"):
        CheckpointParameters()


def test_a_profiler_is_stepped_with_training_and_stopped_with_it() -> None:
    class Counts:
        calls: list[str]

        def __init__(self) -> None:
            self.calls = []

        def start(self) -> None:
            self.calls.append("start")

        def step(self) -> None:
            self.calls.append("step")

        def stop(self) -> None:
            self.calls.append("stop")

    profiler = Counts()
    trainer, task = trainer_of([dream_trainer.ProfileCallback(profiler)])
    trainer.fit(task.train, epochs=1)

    assert profiler.calls == ["start", "step", "step", "step", "stop"]


def test_numbers_that_steps_return_are_logged_on_a_schedule() -> None:
    logger = dream_trainer.LoggerCallback(log_every_n_train_batches=2, log_every_n_val_batches=1)
    trainer, task = trainer_of([logger])
    history = trainer.fit(task.train, task.validation, epochs=2).history

    assert "train_step/loss" in history.names
    assert "val_step/loss" in history.names


# --- the collection ------------------------------------------------------------------------------


class Counts(dream_trainer.Callback):
    def __init__(self) -> None:
        self.steps = 0

    def post_train_step(self, result: Any, batch_idx: int) -> None:
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = state_dict["steps"]


def test_a_collection_is_given_to_a_trainer_and_heard() -> None:
    counts = Counts()
    callbacks = dream_trainer.CallbackCollection([counts])
    trainer, task = trainer_of([])
    callbacks.initialize(trainer)
    trainer.fit(task.train, epochs=1)

    assert counts.steps == 3


def test_a_collection_is_checked_when_it_is_given_to_a_trainer() -> None:
    class Needs(dream_trainer.Callback[dream_trainer.QuantizeMixin]): ...

    trainer, _ = trainer_of([])

    with pytest.raises(MissingRequirementError, match="QuantizeMixin"):
        dream_trainer.CallbackCollection([Needs()]).initialize(trainer)


def test_what_a_collection_got_later_is_heard_after_a_refresh() -> None:
    callbacks, late = dream_trainer.CallbackCollection(), Counts()
    trainer, task = trainer_of([])
    callbacks.initialize(trainer)
    callbacks.append(late)
    callbacks.refresh()
    trainer.fit(task.train, epochs=1)

    assert late.steps == 3


def test_a_collection_keeps_states_by_name() -> None:
    callbacks = dream_trainer.CallbackCollection({"a": Counts(), "b": Counts()})
    callbacks["a"].steps = 4
    states = callbacks.state_dict()
    callbacks.load_state_dict({"b": states["a"]})

    assert (states["a"], callbacks["b"].steps) == ({"steps": 4}, 4)
    with pytest.raises(UnknownCallbackError, match="c"):
        callbacks.load_state_dict({"c": {}})


# --- configure and setup -------------------------------------------------------------------------


class Phases(dream_trainer.TrainerMethods, Trainer):
    seen: list[str]

    def configure(self) -> None:
        super().configure()
        self.seen.append("configure")

    def setup(self) -> None:
        super().setup()
        self.seen.append("setup")


@pytest.mark.parametrize("called", [True, False])
def test_configure_and_setup_are_called_once_by_hand_or_by_fit(called: bool) -> None:
    task = tiny_regression()
    trainer = Phases(
        task.model,
        loss=task.loss,
        optimizer=task.optimizer,
        settings=Settings(device="cpu", directory="run"),
    )
    trainer.seen = []
    if called:
        trainer.configure()
        trainer.setup()
    trainer.fit(task.train, epochs=1)

    assert trainer.seen == ["configure", "setup"]
