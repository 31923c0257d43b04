from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trackside import Callback, Every, PeriodicCallback, Run
from trackside.callbacks import Checkpoint, Evaluate
from trackside.data.source import DataSource as Source
from trackside.distributed import World
from trackside.errors import ConfigurationError
from trackside.lifecycle.collection import CallbackCollection
from trackside.planning.diagnostics import Diagnostic, findings, planned
from trackside.progress import RunLimit
from trackside.schedule import Schedule
from trackside.step.optimization import Scheduler, Scheduling
from trackside.testing import ScriptedRun, tiny_regression

EPOCH = RunLimit(epochs=2, epoch_steps=10, epoch_samples=95)


class Due(PeriodicCallback[Run]):
    pass


class Writer(Callback[Run]):
    writes = ("file",)

    def __init__(self, file: str) -> None:
        self.file = Path(file)


class Waiting(Callback[Run]):
    def __init__(self, patience: int) -> None:
        self.patience = patience


class DataSource:
    batches = 10


def run_with(*callbacks: Callback[Any], limit: RunLimit = EPOCH, directory: str = "run") -> Run:
    run = Run("fit", directory)
    run.limit = limit
    run.accumulate = 1
    run.data = {"train": DataSource()}
    run.models, run.optimizers, run.schedulings = {}, {}, {}
    run.callbacks = CallbackCollection(
        {f"{type(c).__name__.lower()}_{i}": c for i, c in enumerate(callbacks)}
    )
    return run


EACH_EPOCH = Every(epochs=1)


def found(
    run: Run, every: Schedule = EACH_EPOCH, names: tuple[str, ...] = ("val",)
) -> list[Diagnostic]:
    return findings(run, every, names, Every(steps=5))


@pytest.mark.parametrize(
    ("schedule", "times", "first"),
    [
        ("7 steps", 2, 7),
        ("1 epoch", 2, 10),
        ("3 epochs", 0, None),
        ("50 samples", 3, 6),
        ("4 batches", None, 4),
        ("1 minute", None, None),
        ("7 steps or 1 epoch", 4, 7),
        ("7 steps or 1 minute", None, None),
        (Every(steps=7, first=True), 3, 1),
    ],
)
def test_a_schedule_is_told_with_how_often_and_when_first(
    schedule: Schedule | str, times: int | None, first: int | None
) -> None:
    one = planned(run_with(Due(schedule)), {})[0]
    assert (one.owner, one.option, one.times, one.first_step) == ("due_0", "every", times, first)


def test_a_sound_run_has_no_findings() -> None:
    assert found(run_with(Due("1 epoch"), Writer("a.csv"), Writer("b.csv"))) == []


def test_a_schedule_that_is_never_due_is_found() -> None:
    (finding,) = found(run_with(Due("21 steps")))
    assert (finding.severity, finding.about) == ("warning", "due_0")
    assert finding.message == "`every: 21 steps` is never due in a run of 20 steps"


def test_a_schedule_that_also_fires_at_the_end_is_no_finding() -> None:
    assert found(run_with(Due(Every(steps=21, last=True)))) == []


def test_an_evaluation_that_is_never_reached_is_found() -> None:
    (finding,) = found(run_with(), Every(steps=100))
    assert finding.about == "evaluate_every"
    assert "val is evaluated once, at the end" in finding.message


def test_without_evaluation_data_nothing_is_missed() -> None:
    assert found(run_with(), Every(steps=100), ()) == []


def test_two_writers_of_one_path_are_found_however_it_is_spelt() -> None:
    (finding,) = found(run_with(Writer("logs/../a.csv"), Writer("a.csv")))
    assert finding.severity == "error"
    assert finding.message == f"writes {Path('run/a.csv')}, and so does 'writer_0'"


def test_a_folder_that_would_lie_in_a_file_is_found() -> None:
    Path("taken").write_text("")
    (finding,) = found(run_with(Writer("a.csv"), directory="taken/run"))
    assert finding.severity == "error"
    assert "is a file" in finding.message


def test_a_folder_that_nobody_needs_is_only_a_warning() -> None:
    Path("taken").write_text("")
    tolerant = Writer("a.csv")
    tolerant.on_error = "warn"
    (finding,) = found(run_with(tolerant, directory="taken/run"))
    assert finding.severity == "warning"


def test_a_folder_that_can_not_be_written_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write anywhere, so the answer of the system is given here.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (finding,) = found(run_with())
    assert "can't be written to" in finding.message


def test_patience_that_can_not_run_out_is_found() -> None:
    (finding,) = found(run_with(Waiting(2)))
    assert finding.severity == "hint"
    assert found(run_with(Waiting(1))) == []


def test_a_step_of_more_batches_than_an_epoch_has_is_found() -> None:
    run = run_with()
    run.accumulate = 11
    (finding,) = found(run)
    assert finding.message == "a step wants 11 batches, and an epoch has 10"


def test_a_long_run_that_saves_nothing_is_found() -> None:
    (finding,) = found(run_with(limit=RunLimit(steps=20_000)), Every(steps=100))
    assert finding.about == "checkpoint"


def one_cycle(length: int) -> Any:
    return lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=1, total_steps=length)


def cosine(length: int) -> Any:
    return lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=length)


@pytest.mark.parametrize(
    ("factory", "interval", "severity", "remedy"),
    [  # a run of 2 epochs and 20 steps
        (one_cycle(20), None, None, ""),
        (one_cycle(19), None, "error", "give it total_steps=20"),
        (one_cycle(21), None, "warning", "give it total_steps=20"),
        (one_cycle(2), None, "error", "`interval: epoch`, or total_steps=20"),
        (one_cycle(2), "epoch", None, ""),
        (one_cycle(20), "epoch", "warning", "`interval: step`, or total_steps=2"),
        (cosine(2), None, None, ""),
        (cosine(1), None, "warning", "give it T_max=2"),
        (cosine(20), None, "warning", "`interval: step`, or T_max=2"),
        (cosine(20), "step", None, ""),
        (cosine(10), "step", "warning", "give it T_max=20"),
    ],
)
def test_a_scheduler_made_for_another_length_is_found(
    factory: Any, interval: Any, severity: str | None, remedy: str
) -> None:
    run = run_with()
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1, fused=True)
    run.optimizers = {"optimizer": optimizer}
    run.schedulings = {"optimizer": Scheduling(Scheduler(factory, interval), optimizer)}
    told = [(f.severity, f.remedy) for f in found(run)]
    assert told == ([] if severity is None else [(severity, remedy)])


@pytest.mark.parametrize(("interval", "told"), [(None, 1), ("step", 0), ("epoch", 0)])
def test_a_scheduler_of_a_function_that_may_count_steps_is_told_of(
    interval: Any, told: int
) -> None:
    run = run_with()
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1, fused=True)
    made = Scheduler(lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda n: 1.0), interval)
    run.schedulings = {"optimizer": Scheduling(made, optimizer)}
    assert len(found(run)) == told


def test_an_optimizer_with_an_unused_fused_form_is_a_hint() -> None:
    run = run_with()
    run.optimizers = {"optimizer": torch.optim.AdamW(nn.Linear(1, 1).parameters())}
    (finding,) = found(run)
    assert finding.severity == "hint"
    assert "give it `fused: true`, in code `fused=True`" in finding.remedy


def test_an_optimizer_for_many_small_parameters_is_a_hint() -> None:
    run = run_with()
    small, large = nn.Linear(8, 8), nn.Linear(512, 512)
    run.optimizers = {
        "small": torch.optim.NAdam(small.parameters()),
        "large": torch.optim.NAdam(large.parameters()),
        "chosen": torch.optim.NAdam(small.parameters(), foreach=False),
        "single": torch.optim.NAdam([small.weight]),
    }
    (finding,) = found(run)
    assert (finding.severity, finding.about) == ("hint", "small")
    assert "give it `foreach: true`, in code `foreach=True`" in finding.remedy


@pytest.mark.parametrize(
    ("samples", "loader", "model", "told"),
    [
        (9, {"batch_size": 4}, nn.BatchNorm1d(1), 1),
        (9, {"batch_size": 4, "drop_last": True}, nn.BatchNorm1d(1), 0),
        (8, {"batch_size": 4}, nn.BatchNorm1d(1), 0),
        (10, {"batch_size": 4}, nn.BatchNorm1d(1), 0),
        (9, {"batch_size": 4}, nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)), 1),
        (9, {"batch_size": 4}, nn.BatchNorm1d(1).eval(), 0),
        (9, {"batch_size": 4}, nn.LayerNorm(1), 0),
    ],
)
def test_a_last_batch_of_one_sample_is_found_where_batch_norm_meets_it(
    samples: int, loader: dict[str, Any], model: nn.Module, told: int
) -> None:
    run = run_with()
    data = TensorDataset(torch.zeros(samples, 1))
    run.world = World()
    run.data = {"train": Source("train", DataLoader(data, **loader), 1)}
    run.models = {"model": model}
    assert len([one for one in found(run) if "drop_last" in one.remedy]) == told


def test_a_share_of_a_run_of_unknown_length_is_refused_before_the_first_step() -> None:
    task = tiny_regression()
    batches = iter(list(task.train))
    trainer = task.trainer(callbacks=[Checkpoint("25 %")])

    with pytest.raises(ConfigurationError, match="whose length in steps isn't known") as caught:
        trainer.fit(batches, epochs=1)
    assert (caught.value.callback, caught.value.option) == ("checkpoint", "every")


def test_a_plan_has_the_steps_of_a_share() -> None:
    run = ScriptedRun(Checkpoint("50 %"), epochs=2, epoch_steps=4)

    (one,) = planned(run, {})
    assert (one.times, one.steps) == (2, (4, 8))


def test_the_share_of_the_time_that_a_schedule_has_to_fit_into_is_planned() -> None:
    within, always = Evaluate("dev", "5 steps", time_percent=5), Evaluate("dev", "5 steps")
    one, other = planned(run_with(within, always), {})

    assert (one.time_percent, other.time_percent) == (5, None)
