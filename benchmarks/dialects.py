"""The cost per step of a callback of each framework, beside one of ours that does the same.

The task of `benchmarks.step`. Each variant has one callback that listens to the end of a training
batch (or what comes nearest in its framework) and does nothing there. Its time is what the engine
accounts to it, in seconds of its thread; that of a step is of the whole run. Ratios are those to
the run with our callback in the same round, which comes before and after; medians over the rounds.
Python bytecodes per step beyond the trainer without it are counted, free of noise.

    python -m benchmarks.dialects --keep     # writes the table of docs/coming-from/README.md again
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import thread_time
from typing import Any, NamedTuple

import torch

from benchmarks.by_trainer import Listening, fit
from benchmarks.counting import per_step
from benchmarks.report import Figure, at_most, main, median
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
ROUNDS = 9


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


OURS = "Trackside"
VARIANTS: dict[str, Callable[[], Any]] = {
    "nn_handler": NNHandler,
    "nn_handler, reading the loss": NNHandlerReading,
    "nn_handler, nothing within a step": Idle,
    "adaptive neural network": Adaptive,
    "pytorch-accelerated": Accelerated,
    "Noether": Noether,
    "Dream Trainer": Dream,
    "Keras": Keras,
    "Hugging Face Trainer": HuggingFace,
    "Lightning": Lightning,
}
"""Callbacks by their framework."""


class Cost(NamedTuple):
    """Microseconds per step."""

    callback: float
    """As the engine accounts it."""
    step: float
    """Of everything."""


def cost_of(callback: Any, data: list[Any]) -> Cost:
    """What one callback takes in a run, and a step of that run."""
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
        start = thread_time()
        result = trainer.fit(data, epochs=1)
        whole = thread_time() - start
    (name,) = trainer.callbacks.names
    return Cost(*(1e6 * s / len(data) for s in (result.callback_seconds[name], whole)))


def costs(rounds: int, data: list[Any]) -> dict[str, list[tuple[Cost, Cost]]]:
    """The cost of each variant in each round, with that of our callback around it."""
    found: dict[str, list[tuple[Cost, Cost]]] = {name: [] for name in (OURS, *VARIANTS)}
    for make in (Listening, *VARIANTS.values()):
        cost_of(make(), data)  # nothing is measured while something is imported
    before = cost_of(Listening(), data)
    for _ in range(rounds):
        for name, make in VARIANTS.items():
            own = cost_of(make(), data)
            after = cost_of(Listening(), data)
            found[name].append(
                (own, Cost(*(sum(two) / 2 for two in zip(before, after, strict=True))))
            )
            before = after
        found[OURS].append((before, before))
    return found


def measure() -> list[Figure]:
    """Microseconds, ratios and bytecodes per step of one callback."""
    torch.set_num_threads(1)
    # The engine accounts by the clock on the wall; here by the time of this thread, so that what
    # else the machine does isn't counted.
    dispatch.perf_counter = thread_time  # type: ignore[attr-defined]
    figures = []
    bare = per_step(fit)
    for name, rounds in costs(at_most(ROUNDS), batches(STEPS)).items():
        make = VARIANTS.get(name, Listening)
        beyond = per_step(partial(fit, callbacks=[make()])).beyond(bare)
        figures += [
            median(f"{name}: microseconds", [own.callback for own, _ in rounds], "microseconds"),
            median(
                f"{name}: of a native callback",
                [own.callback / o.callback for own, o in rounds],
                "of a native callback",
            ),
            median(
                f"{name}: of a step with one",
                [own.step / o.step for own, o in rounds],
                "of a step with one",
            ),
            Figure(f"{name}: bytecodes", beyond.bytecodes, "bytecodes"),
        ]
    return figures


PAGE = Path(__file__).resolve().parents[1] / "docs" / "coming-from" / "README.md"
MARKS = "<!-- costs -->", "<!-- end of costs -->"
HEAD = (
    "| callback of | microseconds | of a native callback's | a step, of one with a native callback "
    "| bytecodes |\n|---|---|---|---|---|\n"
)


def section(record: Mapping[str, Any]) -> str:
    """The table of a kept result, and where it was made."""
    by_name = {one["name"]: one for one in record["figures"]}

    def cell(name: str, unit: str) -> str:
        found = by_name[f"{name}: {unit}"]
        if found["spread"] is None:
            return f"{found['value']:.0f}"
        low, high = found["spread"]
        return f"{found['value']:.2f} ({low:.2f} to {high:.2f})"

    units = ("microseconds", "of a native callback", "of a step with one", "bytecodes")
    rows = [
        f"| {name} | {' | '.join(cell(name, unit) for unit in units)} |\n"
        for name in (OURS, *VARIANTS)
    ]
    where = f"{record['date']}, {record['machine']}, {record['load']}."
    return f"{where}\n\n{HEAD}{''.join(rows)}"


def write(record: Mapping[str, Any]) -> None:
    """Write the table of a kept result into its page."""
    start, end = MARKS
    between = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.S)
    text = between.sub(lambda _: f"{start}\n\n{section(record)}\n{end}", PAGE.read_text())
    PAGE.write_text(text)


if __name__ == "__main__":
    main("dialects", measure, write=write)
