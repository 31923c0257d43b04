"""Each way a run ends, with callbacks of all dialects beside; each of them hears the end once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.dialects.training import trainer_of
from tests.test_endings import BY_NAME, DOES, run_to_its_end
from trackside.dialects import (
    adaptive_neural_network,
    dream_trainer,
    keras,
    nn_handler,
    noether,
    pytorch_accelerated,
    transformers,
)

BASES: dict[str, tuple[type, str, str]] = {
    # their base class, and their hooks for the begin and the end of training
    "adaptive_neural_network": (
        adaptive_neural_network.Callback,
        "on_train_begin",
        "on_train_end",
    ),
    "dream_trainer": (dream_trainer.Callback, "pre_fit", "post_fit"),
    "keras": (keras.Callback, "on_train_begin", "on_train_end"),
    "nn_handler": (nn_handler.Callback, "on_train_begin", "on_train_end"),
    "noether": (noether.CallbackBase, "before_training", "after_training"),
    "pytorch_accelerated": (
        pytorch_accelerated.TrainerCallback,
        "on_training_run_start",
        "on_training_run_end",
    ),
    "transformers": (transformers.TrainerCallback, "on_train_begin", "on_train_end"),
}


def hears(dialect: str, heard: list[str]) -> Any:
    """A callback of a dialect that writes down when training begins and ends for it."""
    base, begin, end = BASES[dialect]

    def note(word: str) -> Callable[..., None]:
        return lambda self, *_, **__: heard.append(f"{dialect} {word}")

    return type(f"Hears{dialect}", (base,), {begin: note("begins"), end: note("ends")})()


@pytest.mark.parametrize("name", DOES)
def test_a_run_ends_as_the_table_says_and_each_callback_hears_its_end_once(name: str) -> None:
    heard: list[str] = []

    trainer, happening, error = run_to_its_end(name, *(hears(one, heard) for one in BASES))

    ending = BY_NAME[name]
    assert trainer.result is not None
    assert trainer.result.outcome.status is ending.status
    assert trainer.result.failed_callbacks == {}
    assert len(happening.closed) == ending.closed
    assert (error is None) == (ending.raised == "returns")
    begun = sorted(one for one in heard if one.endswith("begins"))
    ended = sorted(one for one in heard if one.endswith("ends"))
    expected = [] if name.startswith("wrong usage") else sorted(BASES)
    assert begun == [f"{one} begins" for one in expected]
    assert ended == [f"{one} ends" for one in expected]


class KerasStops(keras.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = True


class HandlerStops(nn_handler.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        assert self.handler is not None
        self.handler._stop_training = True


class AdaptiveStops(adaptive_neural_network.Callback):
    def on_epoch_end(self, epoch: int, trainer: Any, logs: Any = None) -> None:
        trainer.stop_training = True


class AcceleratedStops(pytorch_accelerated.TrainerCallback):
    def on_training_run_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
        raise pytorch_accelerated.StopTrainingError("enough")


class TransformersStops(transformers.TrainerCallback):
    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = True


class NoetherStops(noether.PeriodicCallback):
    def __init__(self) -> None:
        super().__init__(noether.CallBackBaseConfig(every_n_epochs=1))

    def periodic_callback(self, **_: Any) -> None:
        raise noether.EarlyStopIteration("enough")


class DreamStops(dream_trainer.Callback):
    def post_epoch(self) -> None:
        self.trainer.run.stop("enough")


STOPS = [
    KerasStops,
    HandlerStops,
    AdaptiveStops,
    AcceleratedStops,
    TransformersStops,
    NoetherStops,
    DreamStops,
]


@pytest.mark.parametrize("kind", STOPS, ids=lambda kind: kind.__name__)
def test_their_own_way_to_stop_is_the_ending_of_a_stop(kind: Callable[[], Any]) -> None:
    ending = BY_NAME["a callback, the trainer or `trackside ask` stops it"]
    trainer, task = trainer_of([kind()])

    result = trainer.fit(task.train, task.validation, epochs=5)

    assert (result.outcome.status, result.outcome.exit_code) == (ending.status, ending.exit_code)
