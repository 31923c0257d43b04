"""The callbacks that pytorch-accelerated ships, in its own trainer and in Trackside, on one task.

The same recorder stands beside each of them in both: events, their order and their values agree.
"""

from __future__ import annotations

import copy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trackside import Settings, Trainer

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]

EPOCHS, BATCH_SIZE = 3, 4
KNOWN = ("train_loss_epoch", "eval_loss_epoch")


@pytest.fixture(scope="module")
def theirs() -> ModuleType:
    return pytest.importorskip("pytorch_accelerated")


def rows(count: int, seed: int) -> TensorDataset:
    inputs = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


def model_of_the_task() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(2, 1)


def recorder_of(callbacks: ModuleType) -> Any:
    """A callback of theirs that notes each event, with what the run history holds."""
    events = [
        name for name, value in vars(callbacks.TrainerCallback).items() if name.startswith("on_")
    ]

    def noting(event: str) -> Any:
        def hook(self: Any, trainer: Any, **kwargs: Any) -> None:
            values: dict[str, Any] = {}
            if event != "on_init_end":
                history = trainer.run_history
                values["epoch"] = history.current_epoch
                for name in KNOWN:
                    if name in history.get_metric_names():
                        values[name] = round(float(history.get_latest_metric(name)), 5)
            if "batch_output" in kwargs:
                values["loss"] = round(float(kwargs["batch_output"]["loss"]), 5)
                values["size"] = kwargs["batch_output"]["batch_size"]
            self.seen.append((event, values))

        return hook

    kind = type(
        "Recorder", (callbacks.TrainerCallback,), {event: noting(event) for event in events}
    )
    found = kind()
    found.seen = []
    return found


def in_their_trainer(theirs: ModuleType, built_in: Any, model: nn.Module) -> list[Any]:
    recorder = recorder_of(theirs.callbacks)
    trainer = theirs.Trainer(
        model=model,
        loss_func=nn.MSELoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        callbacks=[built_in, recorder],
    )
    options = {"num_workers": 0, "pin_memory": False, "shuffle": False}
    trainer.train(
        train_dataset=rows(10, 1),
        eval_dataset=rows(5, 2),
        num_epochs=EPOCHS,
        per_device_batch_size=BATCH_SIZE,
        train_dataloader_kwargs=options,
        eval_dataloader_kwargs=options,
    )
    return list(recorder.seen)


def in_trackside(theirs: ModuleType, built_in: Any, model: nn.Module) -> list[Any]:
    recorder = recorder_of(theirs.callbacks)
    trainer = Trainer(
        model,
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        callbacks=[built_in, recorder],
        defaults=False,
        settings=Settings(device="cpu", directory="run"),
    )
    trainer.fit(
        DataLoader(rows(10, 1), BATCH_SIZE), DataLoader(rows(5, 2), BATCH_SIZE), epochs=EPOCHS
    )
    return list(recorder.seen)


BUILT_INS: dict[str, dict[str, Any]] = {
    "LogMetricsCallback": {},
    "PrintProgressCallback": {},
    "ProgressBarCallback": {},
    "MoveModulesToDeviceCallback": {},
    "ConvertSyncBatchNormCallback": {},
    "TerminateOnNaNCallback": {},
    "SaveBestModelCallback": {"save_path": "best.pt"},
    "SaveTrainingStateCallback": {"save_dir": "states", "save_every_n_epochs": 1},
    "EarlyStoppingCallback": {"early_stopping_patience": 2},
}


@pytest.mark.parametrize("name", BUILT_INS)
def test_events_come_in_the_same_order_with_the_same_values(
    theirs: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kind, options = getattr(theirs.callbacks, name), BUILT_INS[name]
    first = model_of_the_task()
    second = copy.deepcopy(first)
    for folder in ("theirs", "ours"):
        (tmp_path / folder).mkdir()

    monkeypatch.chdir(tmp_path / "theirs")
    expected = in_their_trainer(theirs, kind(**options), first)
    monkeypatch.chdir(tmp_path / "ours")
    seen = in_trackside(theirs, kind(**options), second)

    assert [event for event, _ in seen] == [event for event, _ in expected]
    assert seen == expected
    torch.testing.assert_close(first.state_dict(), second.state_dict())


def test_one_that_stops_training_stops_it_at_the_same_epoch(
    theirs: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"early_stopping_patience": 1, "early_stopping_threshold": 100.0}
    kind = theirs.callbacks.EarlyStoppingCallback
    expected = in_their_trainer(theirs, kind(**options), model_of_the_task())
    seen = in_trackside(theirs, kind(**options), model_of_the_task())

    ends = [event for event, _ in expected if event == "on_train_epoch_end"]
    assert [event for event, _ in seen if event == "on_train_epoch_end"] == ends
    assert {"on_stop_training_error", "on_training_run_end"} <= {event for event, _ in seen}
