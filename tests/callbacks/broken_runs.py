"""A run broken at every safe point and resumed, compared bit by bit with the unbroken one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from trackside import Callback, Trainer
from trackside.checkpoint.saver import Saver
from trackside.checkpoint.splitting import check_savable
from trackside.loop import resume as resuming
from trackside.loop.snapshot import restore
from trackside.loop.state import Training
from trackside.run import Run

Fit = Callable[[Trainer], Any]
State = tuple[dict[str, Any], dict[str, Any]]


class MemorySaver(Saver):
    """Keeps a deep copy of every state that is saved; each must be one that a file can hold."""

    is_writing = False

    def __init__(self) -> None:
        self.states: list[State] = []

    def root(self, run: Run) -> Path:
        return run.directory

    def prepare(self, run: Run, shared: dict[str, Any], own: dict[str, Any]) -> None:
        check_savable(shared)

    def save(self, run: Run, shared: dict[str, Any], own: dict[str, Any], reason: str) -> None:
        check_savable(shared)
        self.states.append(copy.deepcopy((shared, own)))

    def poll(self, run: Run) -> None:
        """Nothing happens in the background."""

    def finish_saves(self, run: Run) -> None:
        """Nothing is under way."""


class SaveEverywhere(Callback):
    """Asks for a checkpoint after each step, evaluation and epoch."""

    name = "save_everywhere"

    def __init__(self) -> None:
        self.saver = MemorySaver()

    def on_attach(self, run: Run) -> None:
        run.saver = self.saver

    def on_step_end(self, run: Run) -> None:
        run.save("step")

    def on_evaluation_end(self, run: Run, evaluation: Any) -> None:
        run.save("evaluation")

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        run.save("epoch")


def check_resumes_exactly(make: Callable[..., Trainer], fit: Fit, *, every_th: int = 1) -> int:
    """Break a run at its safe points; each time the resumed one must end as the unbroken one did.

    Args:
        make: Makes a trainer, model and callbacks anew; takes `more`, further callbacks.
        fit: Runs it.
        every_th: Resume from one in so many safe points.

    Returns:
        How many resumed runs were compared.
    """
    saving = SaveEverywhere()
    unbroken = make(more=[saving])
    expected = fit(unbroken)
    states = saving.saver.states[::every_th]
    assert states, "the run has no safe point"
    for state in states:
        resumed = make(more=[])
        torch.manual_seed(99)  # whatever the generators say, the checkpoint knows better
        with going_on_from(state):
            result = fit(resumed)
        where = f"resumed in phase {state[0]['loop']['phase']} at {state[0]['progress']}"
        assert rows(result) == rows(expected), where
        assert_equal(parts_of(resumed), parts_of(unbroken), where)
    return len(states)


@contextmanager
def going_on_from(state: State) -> Iterator[None]:
    """Inside, every `fit` goes on from `state`; there must be one."""
    resumed = []

    def put_back(training: Training, which: Any, *, is_new_directory: bool) -> None:
        shared, own = copy.deepcopy(state)
        training.fire(Callback.on_checkpoint_load, shared)
        restore(training, shared, own)
        resumed.append(training)

    with mock.patch.object(resuming, "resume", put_back):
        yield
    assert resumed, "the run was not resumed: nothing was compared"


def rows(result: Any) -> list[dict[str, float]]:
    """What was recorded, without what depends on the clock."""
    return [
        {name: value for name, value in row.items() if "seconds" not in name}
        for row in result.history.rows()
    ]


def parts_of(trainer: Trainer) -> dict[str, Any]:
    """Weights and states of callbacks."""
    models: Mapping[str, Any] = trainer.models
    states = trainer.callbacks.state_dict()
    return {"models": {name: model.state_dict() for name, model in models.items()}, **states}


def assert_equal(found: Any, expected: Any, where: str) -> None:
    """Compare nested states bit by bit."""
    mine, theirs = dict(leaves(found)), dict(leaves(expected))
    assert mine.keys() == theirs.keys(), where
    for path, value in theirs.items():
        if isinstance(value, Tensor):
            assert torch.equal(mine[path], value), f"{path}, {where}"
        else:
            assert mine[path] == value, f"{path}, {where}"


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of a nested state by path."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from leaves(part, f"{path}/{key}")
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield from leaves(part, f"{path}/{index}")
    else:
        yield path, value
