"""What a callback of another framework costs per step, beside one of ours that does the same.

The task of `benchmarks.step`. Each variant has one callback that listens to the end of a training
batch (or what comes nearest in its framework) and does nothing there. Its time is what the engine
accounts to it, in seconds of its thread, the least of several runs. Python bytecodes per step
beyond the trainer without it are counted, free of noise.

    python -m benchmarks.dialects
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from time import thread_time
from typing import Any

import torch

from benchmarks.by_trainer import Listening, fit
from benchmarks.counting import per_step
from benchmarks.report import Figure, main
from benchmarks.task import batches, build
from trackside import Settings, Trainer
from trackside.dialects import (
    adaptive_neural_network,
    dream_trainer,
    keras,
    lightning,
    nn_handler,
    noether,
    pytorch_accelerated,
    transformers,
)
from trackside.lifecycle import dispatch

STEPS = 300
ROUNDS = 7


class NNHandler(nn_handler.Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Nothing."""


class NNHandlerReading(nn_handler.Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        logs["loss"]


class Idle(nn_handler.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Nothing."""


class Adaptive(adaptive_neural_network.Callback):
    def on_batch_end(self, batch_idx: int, trainer: Any, logs: Any = None) -> None:
        """Nothing."""


class Accelerated(pytorch_accelerated.TrainerCallback):
    def on_train_step_end(self, trainer: Any, batch: Any, batch_output: Any, **kwargs: Any) -> None:
        """Nothing."""


class Noether(noether.PeriodicCallback):
    def __init__(self) -> None:
        super().__init__(noether.CallBackBaseConfig(every_n_epochs=1))

    def track_after_accumulation_step(self, **kwargs: Any) -> None:
        """Nothing."""


class Dream(dream_trainer.Callback):
    def post_train_step(self, result: Any, batch_idx: int) -> None:
        """Nothing."""


class Keras(keras.Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Nothing."""


class HuggingFace(transformers.TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Nothing."""


class Lightning(lightning.Callback):
    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Nothing."""


VARIANTS: dict[str, Callable[[], Any]] = {
    "ours": Listening,
    "nn_handler": NNHandler,
    "nn_handler, reading the loss": NNHandlerReading,
    "nn_handler, idle in a step": Idle,
    "adaptive neural network": Adaptive,
    "pytorch-accelerated": Accelerated,
    "noether": Noether,
    "dream trainer": Dream,
    "keras": Keras,
    "transformers": HuggingFace,
    "lightning": Lightning,
}


def seconds_per_step(callback: Any, data: list[Any]) -> float:
    """What the engine accounts to the callback in a run, per step."""
    model, loss_function, optimizer_of = build()
    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer(
            model,
            loss=loss_function,
            optimizer=optimizer_of,
            callbacks=[callback],
            defaults=False,
            settings=Settings(device="cpu", directory=directory),
        )
        result = trainer.fit(data, epochs=1)
    (name,) = trainer.callbacks.names
    return result.callback_seconds[name] / len(data)


def measure() -> list[Figure]:
    """Microseconds and bytecodes per step that one callback adds."""
    torch.set_num_threads(1)
    # The engine accounts by the clock on the wall; here by the time of this thread, so that what
    # else the machine does isn't counted.
    dispatch.perf_counter = thread_time  # type: ignore[attr-defined]
    data = batches(STEPS)
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(ROUNDS):
        for name, make in VARIANTS.items():
            seconds[name].append(seconds_per_step(make(), data) * 1e6)
    figures = [
        Figure(
            f"one callback per step, {name}",
            min(values),
            "microseconds",
            spread=(min(values), max(values)),
        )
        for name, values in seconds.items()
    ]
    bare = per_step(fit)
    for name, make in VARIANTS.items():
        callback = make()
        beyond = per_step(partial(fit, callbacks=[callback])).beyond(bare)
        figures.append(Figure(f"one callback per step, {name}", beyond.bytecodes, "bytecodes"))
    return figures


if __name__ == "__main__":
    main("dialects", measure)
