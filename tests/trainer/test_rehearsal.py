from __future__ import annotations

import copy
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from trackside import Callback, PeriodicCallback, Settings, Trainer
from trackside.callbacks import CSVLogger, EarlyStopping
from trackside.errors import UsageError
from trackside.machine import randomness
from trackside.run import Run
from trackside.trainer.rehearsal import RehearsalError, first_batches


class Seen(PeriodicCallback):
    """Writes down, for all of its copies, what it hears."""

    events: list[str] = []

    def __init__(self, every: str = "1000 steps") -> None:
        super().__init__(every)

    def on_attach(self, run: Run) -> None:
        self.events.append(f"attach to {run.directory.name}")

    def on_due(self, run: Run) -> None:
        self.events.append("due")

    def on_batch_start(self, run: Run, batch: Any) -> None:
        self.events.append("batch")

    def on_checkpoint_saved(self, run: Run, checkpoint: Path) -> None:
        self.events.append("saved")

    def on_checkpoint_load(self, run: Run, state: dict[str, Any]) -> None:
        self.events.append("loaded")

    def on_exception(self, run: Run, error: BaseException) -> None:
        self.events.append("exception")

    def on_close(self, run: Run, outcome: Any) -> None:
        self.events.append("closed")


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    Seen.events.clear()


def data(samples: int = 40) -> TensorDataset:
    inputs = torch.rand(samples, 3, generator=torch.Generator().manual_seed(1))
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 1))


def trainer(*callbacks: Callback, **options: Any) -> Trainer:
    given: dict[str, Any] = {
        "model": model,
        "loss": nn.MSELoss(),
        "optimizer": lambda p: torch.optim.AdamW(p, lr=0.01),
        "settings": Settings(directory="run"),
    }
    return Trainer(callbacks=callbacks, **given | options)


def test_every_path_of_the_run_is_gone_through_before_it() -> None:
    trainer(Seen()).fit(data(), data(8), epochs=1, batch_size=4, rehearse=True)

    at = len(Seen.events) - 1 - Seen.events[::-1].index("attach to run")
    before = Seen.events[:at]
    assert {"due", "saved", "loaded", "exception", "closed"} <= set(before)
    assert before.count("batch") <= 2 * 2 + 2 + 1  # two epochs, the third, the failing one
    assert Seen.events[at:].count("batch") == 10


def test_the_run_after_a_rehearsal_is_bitwise_the_run_without() -> None:
    ended = []
    for rehearse in (False, True):
        torch.manual_seed(5)
        one = trainer(EarlyStopping("val/loss"))
        loader = DataLoader(data(), 4, shuffle=True)
        result = one.fit(loader, data(8), epochs=2, rehearse=rehearse)
        rows = [
            {k: v for k, v in r.items() if "/" in k and "loss" in k} for r in result.history.rows()
        ]
        ended.append((rows, [p.tolist() for p in one.models["model"].parameters()]))
    assert ended[0] == ended[1]


def test_models_and_optimizers_that_were_given_made_are_left_alone() -> None:
    torch.manual_seed(1)
    net = model()
    optimizer = torch.optim.AdamW(net.parameters())
    kept = copy.deepcopy(net.state_dict())

    with pytest.raises(RehearsalError):
        trainer(FailsAtTheEnd(), model=net, optimizer=optimizer).fit(
            data(), epochs=1, rehearse=True
        )

    assert all(torch.equal(net.state_dict()[name], value) for name, value in kept.items())
    assert optimizer.state_dict()["state"] == {}


class FailsAtTheEnd(Callback):
    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        raise ValueError("no room for the picture")


def test_what_would_fail_late_fails_at_once_and_nothing_is_left_of_it() -> None:
    before = randomness.capture()["torch"]

    with pytest.raises(RehearsalError, match="no room for the picture"):
        trainer(FailsAtTheEnd(), CSVLogger()).fit(data(), epochs=100, rehearse=True)

    assert not Path("run").exists()
    assert torch.equal(randomness.capture()["torch"], before)


def test_a_trainer_can_be_rehearsed_again_after_a_run() -> None:
    one = trainer(Seen())

    one.fit(data(), epochs=1, rehearse=True)
    result = one.fit(data(), epochs=1, rehearse=True)

    assert result.outcome.status == "completed"


class Tracker(Callback):
    """Tells somebody, unless it is a rehearsal."""

    told: list[str] = []

    def __init__(self, takes_part: bool) -> None:
        self.takes_part, self.where = takes_part, "the server"

    def rehearse_in(self, folder: Path) -> bool:
        self.where = "the folder"
        return self.takes_part

    def on_close(self, run: Run, outcome: Any) -> None:
        self.told.append(self.where)


@pytest.mark.parametrize("takes_part", [True, False])
def test_trackers_keep_a_rehearsal_to_its_folder_or_take_no_part(takes_part: bool) -> None:
    Tracker.told.clear()

    with pytest.raises(RehearsalError):
        trainer(Tracker(takes_part), FailsAtTheEnd()).fit(data(), epochs=1, rehearse=True)

    assert Tracker.told == (["the folder"] if takes_part else [])


def test_a_trainer_that_cannot_be_copied_says_what_to_do() -> None:
    class HoldsALock(Callback):
        def __init__(self) -> None:
            self.lock = threading.Lock()

    with pytest.raises(RehearsalError, match="can't be copied for a rehearsal") as raised:
        trainer(HoldsALock()).fit(data(), epochs=1, rehearse=True)

    assert "on_fit_start" in str(raised.value)


def test_data_that_would_be_used_up_is_refused() -> None:
    batches = iter([(torch.rand(4, 3), torch.rand(4, 1))])

    with pytest.raises(UsageError, match="'train' can be passed over once only"):
        trainer().fit(batches, steps=1, rehearse=True)


def test_one_of_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    for name, value in (there | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(UsageError, match="several ranks"):
        trainer().fit(data(), epochs=1, rehearse=True)


class Endless(IterableDataset[torch.Tensor]):
    def __iter__(self):  # type: ignore[no-untyped-def]
        while True:
            yield torch.zeros(1)


def test_the_first_batches_of_any_data() -> None:
    assert len(first_batches(data(100), 3)) == 6
    assert len(first_batches(data(4), 3)) == 4
    assert len(first_batches({"x": torch.rand(9, 2)}, 2)) == 4
    loader = first_batches(DataLoader(data(100), batch_size=5), 3)
    assert [len(batch[0]) for batch in loader] == [5, 5]
    vectors: Any = [torch.rand(4)] * 9  # a loader tells that these are samples
    said = first_batches(DataLoader(vectors, batch_size=2), 3)
    assert [tuple(batch.shape) for batch in said] == [(2, 4), (2, 4)]
    assert len(list(first_batches(Endless(), 3))) == 6
    assert list(first_batches(iter([1, 2, 3]), 3)) == [1, 2]
    assert len(first_batches([1], 3)) == 1
