"""Where the time goes of a short epoch, a save, loading by a worker, and a step on two ranks.

In milliseconds, for figures that are over their aims: the same work as in `epochs`, `step`,
`workers` and `two_ranks`, its parts watched. The time of a part is without that of parts inside of
it, and all parts of a column are its whole time, but for those that threads take beside it. The
tables are in `docs/comparison.md`.

    python -m benchmarks.profile
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import epochs, report, two_ranks
from benchmarks import workers as loading
from benchmarks.by_trainer import fit
from benchmarks.parts import Functions, Parts
from benchmarks.report import Figure, at_most, main, median, quiet
from benchmarks.task import batches
from trackside.callbacks import Checkpoint
from trackside.distributed import join, launch, leave

ROUNDS = 9
SAVES, EVERY = 10, 50
EPOCH, SAVE, WORKER = "a short epoch", "50 steps and a save", "two epochs with a worker"
ON_RANKS = "a step on two ranks"
BESIDE = "beside the loop"
"""How the names of parts begin that threads take."""

LOOP, EVALUATING, SAVING = "trackside.loop.fit", "trackside.loop.evaluate", "trackside.checkpoint"
EPOCH_PARTS: Functions = {
    "training steps": [f"{LOOP}.take_steps", "benchmarks.epochs.pass_by_hand"],
    "evaluated batches": [f"{EVALUATING}._evaluate_batches", "benchmarks.epochs.evaluate_by_hand"],
    "around passes and evaluations: generators, modes, means, records": [
        f"{LOOP}.epoch",
        f"{LOOP}.begin_pass",
        f"{LOOP}.after_step",
    ],
    "callbacks": ["trackside.lifecycle.dispatch.Dispatcher.fire"],
    "checkpoints: copies, and the wait for the last": [
        "trackside.loop.safe_points._save",
        "trackside.lifecycle.lifetime.settle",
    ],
}
BEFORE = "before the first epoch and after the last"
SAVE_PARTS: Functions = {
    "state gathered": [
        "trackside.loop.safe_points.shared_state",
        "trackside.loop.safe_points.rank_state",
    ],
    "state taken apart and copied": [f"{SAVING}.writer.take_snapshot"],
    "the rest of the save": ["trackside.loop.safe_points._save"],
    "looking after each step whether it is written": [f"{LOOP}.after_step"],
    "resume proof: three steps noted": [
        "trackside.loop.following.Following.batch",
        "trackside.loop.following.Following.begin",
        "trackside.loop.following.Following.finish",
    ],
    f"{BESIDE}: a thread writes it": [f"{SAVING}.writer.CheckpointWriter._write"],
}
FIFTY = f"{EVERY} steps"
LOADING = "torch.utils.data.dataloader._MultiProcessingDataLoaderIter"
WORKER_PARTS: Functions = {
    "worker started, passes begun": [f"{LOADING}.__init__", f"{LOADING}._reset"],
    "waiting for batches": [f"{LOADING}._next_data"],
    "worker ended": [f"{LOADING}._shutdown_workers"],
    "steps and evaluated batches": [
        f"{LOOP}.take_steps",
        f"{EVALUATING}._evaluate_batches",
        "benchmarks.workers.pass_by_hand",
        "benchmarks.workers.evaluate_by_hand",
    ],
}
AROUND = "around them, before and after"
STEP_PARTS: Functions = {
    "forward": ["torch.nn.parallel.DistributedDataParallel.forward"],
    "backward, gradients averaged": ["torch.Tensor.backward"],
    "update": ["torch.optim.AdamW.step"],
    "agreement": ["trackside.loop.safe_points.agree"],
}
REST = "the rest of the loop"


def profiles(
    what: str,
    functions: Functions,
    whole: str,
    columns: Mapping[str, Callable[[], object]],
    per: int,
) -> list[Figure]:
    """Milliseconds of each part in each column, medians over rounds in turns.

    Args:
        what: Is done.
        functions: Of its parts.
        whole: Name of what is in none of them.
        columns: Ways of doing it.
        per: How often one call of a way does it.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for act in columns.values():
        act()
    for _ in range(at_most(ROUNDS)):
        for column, act in columns.items():
            parts = Parts(functions)
            with parts.watched(whole):
                act()
            for part, seconds in parts.seconds.items():
                found.setdefault((column, part), []).append(1e3 * seconds / per)
    return [
        median(f"{what}, {column}: {part}", values, "ms")
        for (column, part), values in found.items()
    ]


def short_epochs() -> list[Figure]:
    """By hand, by the bare trainer, and with the default callbacks."""
    data = batches(2 * epochs.STEPS)
    halves = data[: epochs.STEPS], data[epochs.STEPS :]

    def inside(act: Callable[..., object], **options: Any) -> Callable[[], object]:
        def turn() -> None:
            with tempfile.TemporaryDirectory() as folder:
                act(*halves, Path(folder), **options)

        return quiet(turn)

    columns = {
        "by hand": inside(epochs.by_hand),
        "bare": inside(epochs.trained, defaults=False),
        "with the default callbacks": inside(epochs.trained, defaults=True),
    }
    return profiles(EPOCH, EPOCH_PARTS, BEFORE, columns, epochs.EPOCHS)


def saves() -> list[Figure]:
    """Of 50 steps of 0.4 ms, and of the save after them."""
    data = batches(SAVES * EVERY)

    def saving(**settings: Any) -> None:
        fit(data, {"checkpoint": Checkpoint(f"{EVERY} steps", at_end=False)}, **settings)

    columns: dict[str, Callable[[], object]] = {
        "without": partial(fit, data),
        "saved": partial(saving, on_resume_differs=None),
        "saved, with the resume proof": saving,
    }
    return profiles(SAVE, SAVE_PARTS, FIFTY, columns, SAVES)


def workers() -> list[Figure]:
    """Of the run with one worker for each loader that is kept from pass to pass."""
    columns = {
        "by hand": partial(loading.by_hand, 1, persistent=True),
        "bare": partial(loading.by_trainer, 1, persistent=True),
    }
    return profiles(WORKER, WORKER_PARTS, AROUND, columns, 1)


def ranks() -> list[Figure]:
    """Of a step of the small model on two ranks; called in each of them."""
    workload = two_ranks.WORKLOADS["MLP 64-128-10"]

    def taking(loop: Callable[[Sequence[int], two_ranks.Timed], None]) -> Callable[[], object]:
        return lambda: two_ranks.seconds(loop, workload)

    columns = {"by hand": taking(two_ranks.by_hand), "bare": taking(two_ranks.by_trainer)}
    return profiles(ON_RANKS, STEP_PARTS, REST, columns, workload.steps)


def work(result: Path) -> None:
    """What each of two ranks does; the first one writes its figures down."""
    torch.set_num_threads(1)
    two_ranks.stay_on_a_core(int(os.environ["RANK"]))
    world = join("cpu")
    figures = ranks()
    if world.is_global_zero:
        result.write_text(json.dumps([asdict(figure) for figure in figures]))
    leave()


def on_two_ranks() -> list[Figure]:
    """The figures of rank 0."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "figures.json"
        rounds = [] if report.MOST_ROUNDS is None else [str(report.MOST_ROUNDS)]
        command = [sys.executable, "-m", "benchmarks.profile", "--work", str(result), *rounds]
        if code := launch(command, 2):
            raise SystemExit(code)
        return [Figure(**fields) for fields in json.loads(result.read_text())]


def measure() -> list[Figure]:
    """All profiles."""
    torch.set_num_threads(1)
    return [*short_epochs(), *saves(), *workers(), *on_two_ranks()]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        report.MOST_ROUNDS = int(sys.argv[3]) if sys.argv[3:] else None
        work(Path(sys.argv[2]))
    else:
        main("profile", measure)
