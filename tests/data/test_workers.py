"""Loader workers outlive signals that are meant for the run, and end with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trackside import Callback, Run
from trackside.data.source import DataSource
from trackside.data.workers import Workers, stop_signals
from trackside.errors import Terminated
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.signals import ALWAYS, StopOnSignals
from trackside.testing import Recorder, ScriptedRun, tiny_regression


class Numbers(Dataset[Tensor]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor(index)


def loader(**options: Any) -> DataLoader[Any]:
    return DataLoader(Numbers(), 2, num_workers=1, multiprocessing_context="fork", **options)


def processes(batches: Iterator[Any]) -> list[psutil.Process]:
    return [psutil.Process(worker.pid) for worker in vars(batches)["_workers"]]


def kill_and_wait(process: psutil.Process) -> None:
    """End it, and wait until its parent can know; it is a child of this process."""
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize("number", ALWAYS)
def test_a_worker_outlives_a_signal_that_asks_for_the_end(number: signal.Signals) -> None:
    workers = Workers(loader())
    batches = workers.start()
    next(batches)
    for process in processes(batches):
        process.send_signal(number)

    assert len(list(batches)) == 3


def test_a_signal_of_the_user_s_choice_is_meant_for_the_run_as_well() -> None:
    run = ScriptedRun(Recorder())
    with StopOnSignals(run, Dispatcher(run), [signal.SIGUSR1]):
        assert set(stop_signals()) == {*ALWAYS, signal.SIGUSR1}
    assert set(stop_signals()) == set(ALWAYS)


def test_what_the_user_does_first_in_a_worker_is_still_done() -> None:
    def init(worker: int) -> None:
        torch.utils.data.get_worker_info().dataset.offset = 100  # type: ignore[union-attr]

    class Shifted(Numbers):
        offset = 0

        def __getitem__(self, index: int) -> Tensor:
            return torch.tensor(index + self.offset)

    own = DataLoader(
        Shifted(), 4, num_workers=1, multiprocessing_context="fork", worker_init_fn=init
    )
    assert [batch.tolist() for batch in Workers(own).start()] == [
        [100, 101, 102, 103],
        [104, 105, 106, 107],
    ]
    assert own.worker_init_fn is init, "the user's loader is as it was"


class Told(Dataset[Tensor]):
    """A data set that its workers set up; it sees itself as they do."""

    offset = 0

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Tensor:
        info = torch.utils.data.get_worker_info()
        assert info is not None
        assert info.dataset is self
        return torch.tensor(index + self.offset)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("persistent", [False, True])
def test_what_a_worker_sets_on_the_data_set_is_seen_by_it(training: bool, persistent: bool) -> None:
    def init(worker: int) -> None:
        torch.utils.data.get_worker_info().dataset.offset = 100  # type: ignore[union-attr]

    loader = DataLoader(
        Told(),
        4,
        num_workers=1,
        multiprocessing_context="fork",
        worker_init_fn=init,
        persistent_workers=persistent,
    )
    source = DataSource("train", loader, 1, training=training)
    assert [one.data.tolist() for one in source.begin(0)] == [
        [100, 101, 102, 103],
        [104, 105, 106, 107],
    ]
    source.workers.end()


def test_a_worker_that_is_gone_is_noticed() -> None:
    workers = Workers(loader())
    batches = workers.start()
    next(batches)
    assert not workers.lost
    [process] = processes(batches)
    former = signal.signal(signal.SIGCHLD, lambda number, frame: None)
    try:
        kill_and_wait(process)
        assert workers.lost
    finally:
        signal.signal(signal.SIGCHLD, former)


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_end_with_the_run_also_where_an_error_ends_it(persistent: bool) -> None:
    found: list[psutil.Process] = []
    before = set(psutil.Process().children())  # a service that other tests left behind

    class Failing(Callback[Run]):
        def on_step_end(self, run: Run) -> None:
            found.extend(set(psutil.Process().children()) - before)
            raise ValueError("stop here")

    task = tiny_regression()
    data = DataLoader(
        Slow(task.train.dataset),
        4,
        num_workers=2,
        multiprocessing_context="fork",
        persistent_workers=persistent,
    )
    with pytest.raises(ValueError, match="stop here") as caught:
        task.trainer(callbacks=[Failing()]).fit(data, steps=3)
    assert caught.traceback, "whose frames hold the pass that was under way"
    assert len(found) >= 2
    assert not [one for one in found if one.is_running() and one.status() != "zombie"]


class Slow(Dataset[Any]):
    """Read one by one: the fast path for tensors in memory has no workers."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        return self.data[index]


class Preempting(Slow):
    """A worker tells the run to end, and is killed, while it loads its third batch."""

    def __getitem__(self, index: int) -> Any:
        if index == 8:
            os.kill(os.getppid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_a_worker_that_is_killed_after_a_signal_is_that_stop() -> None:
    task = tiny_regression()
    data = DataLoader(
        Preempting(task.train.dataset), 4, num_workers=1, multiprocessing_context="fork"
    )
    trainer = task.trainer()
    with pytest.raises(Terminated) as told:
        trainer.fit(data, steps=50)

    outcome = told.value.result.outcome
    assert (outcome.status, outcome.exit_code) == ("interrupted", 143)
    assert outcome.error is None, "it ended in order, at a safe point"
