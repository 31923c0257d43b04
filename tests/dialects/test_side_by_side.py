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

from tests.dialects.compared import ACCELERATED
from trackside import Scheduler, Settings, Trainer

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
                values["loss"] = round(float(kwargs["batch_output"]["loss"].detach()), 5)
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
        callbacks=[recorder, built_in],
    )
    options = {"num_workers": 0, "pin_memory": False, "shuffle": False}
    trainer.train(
        train_dataset=rows(10, 1),
        eval_dataset=rows(5, 2),
        num_epochs=EPOCHS,
        per_device_batch_size=BATCH_SIZE,
        create_scheduler_fn=scheduler(built_in),
        train_dataloader_kwargs=options,
        eval_dataloader_kwargs=options,
    )
    return list(recorder.seen)


def in_trackside(theirs: ModuleType, built_in: Any, model: nn.Module) -> list[Any]:
    recorder = recorder_of(theirs.callbacks)
    moves = scheduler(built_in)
    trainer = Trainer(
        model,
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        scheduler=None if moves is None else Scheduler(moves, interval="step"),
        callbacks=[recorder, built_in],
        defaults=False,
        settings=Settings(device="cpu", directory="run"),
    )
    trainer.fit(
        DataLoader(rows(10, 1), BATCH_SIZE), DataLoader(rows(5, 2), BATCH_SIZE), epochs=EPOCHS
    )
    return list(recorder.seen)


def scheduler(built_in: Any) -> Any:
    """Makes the scheduler that a callback steers by; None for all but one."""
    if type(built_in).__name__ != "WSDCheckpointCallback":
        return None
    kind = pytest.importorskip("pytorch_accelerated.schedulers.wsd_scheduler").WSDLrScheduler
    return lambda optimizer: kind(optimizer, total_steps=EPOCHS * 3, decay_phase_ratio=0.3)


def state_of(built_in: Any) -> dict[str, Any]:
    """What a callback has counted and kept, as far as it can be compared."""
    plain = (bool, int, str, list, set, tuple, type(None))
    kept = {name: value for name, value in vars(built_in).items() if isinstance(value, plain)}
    numbers = {n: round(v, 5) for n, v in vars(built_in).items() if isinstance(v, float)}
    return {**kept, **numbers}


def files() -> set[str]:
    """Files below the working directory, but for the folder of a run of ours; a folder of theirs
    that holds a training state counts once."""
    names = {str(path.relative_to(".")) for path in Path().rglob("*") if path.is_file()}
    states = {
        str(Path(name).parent) for name in names if "pytorch_model" in name or "_state" in name
    }
    kept = {name for name in names if str(Path(name).parent) not in states}
    return {name for name in kept | states if not name.startswith("run/")}


def test_every_callback_of_the_package_is_in_the_table(theirs: ModuleType) -> None:
    base = theirs.callbacks.TrainerCallback
    shipped = {
        name
        for name, value in vars(theirs.callbacks).items()
        if isinstance(value, type) and issubclass(value, base) and value is not base
    }
    assert shipped == set(ACCELERATED)


@pytest.mark.parametrize("name", [n for n, case in ACCELERATED.items() if not case.refused])
def test_events_values_and_files_are_those_of_their_own_trainer(
    theirs: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kind, options = getattr(theirs.callbacks, name), ACCELERATED[name].options
    first = model_of_the_task()
    second = copy.deepcopy(first)
    for folder in ("theirs", "ours"):
        (tmp_path / folder).mkdir()

    monkeypatch.chdir(tmp_path / "theirs")
    built_in = kind(**options)
    expected, left = in_their_trainer(theirs, built_in, first), files()
    monkeypatch.chdir(tmp_path / "ours")
    ours = kind(**options)
    seen = in_trackside(theirs, ours, second)

    assert [event for event, _ in seen] == [event for event, _ in expected]
    assert seen == expected
    assert state_of(ours) == state_of(built_in)
    assert files() == left
    torch.testing.assert_close(first.state_dict(), second.state_dict())


@pytest.mark.parametrize("name", [n for n, case in ACCELERATED.items() if case.refused])
def test_one_that_drives_their_loop_itself_is_refused_with_the_native_way(
    theirs: ModuleType, name: str
) -> None:
    case = ACCELERATED[name]
    with pytest.raises(AttributeError, match=case.refused):
        in_trackside(theirs, getattr(theirs.callbacks, name)(**case.options), model_of_the_task())


def test_an_average_that_is_evaluated_is_refused_with_the_native_way(theirs: ModuleType) -> None:
    with pytest.raises(AttributeError, match=r"callbacks\.EMA"):
        in_trackside(theirs, theirs.callbacks.ModelEmaCallback(), model_of_the_task())
