"""`run.end_epoch`: the rest of an epoch is left out, and nothing else."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from trackside import Callback, Settings, Trainer
from trackside.callbacks import Checkpoint
from trackside.checkpoint import open_checkpoint
from trackside.errors import UsageError
from trackside.progress import EndedEpoch
from trackside.run import Evaluation, Run
from trackside.testing import Recorder, check_grammar, tiny_regression
from trackside.trainer.settings import Result

EPOCH = 5


class Noisy(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Samples with random augmentation from all three generators."""

    def __len__(self) -> int:
        return 4 * EPOCH

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.rand(3) + float(np.random.rand()) + random.random()
        return torch.full((3,), index / 20) + 0.1 * noise, torch.tensor([float(index)])


class Ends(Callback):
    """Asks for the end of the epoch after certain steps."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def on_step_end(self, run: Run) -> None:
        if run.progress.steps_completed in self.steps:
            run.end_epoch("enough of it")


def trainer(*callbacks: Callback[Any], folder: Path, **options: Any) -> Trainer:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 1))
    return Trainer(
        model,
        loss=nn.MSELoss(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
        callbacks=list(callbacks),
        defaults=False,
        seed=3,
        settings=Settings(directory=folder, device="cpu", log_every="1 step"),
        **options,
    )


def fit(*callbacks: Callback[Any], folder: Path, workers: int = 0, **given: Any) -> Result:
    made = trainer(*callbacks, folder=folder, accumulate=given.pop("accumulate", 1))
    loader = DataLoader(
        Noisy(), 4, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    result = made.fit(loader, Noisy(), **{"epochs": 3, **given})
    weights.append(torch.cat([p.detach().flatten() for p in made.models["model"].parameters()]))
    return result


weights: list[torch.Tensor] = []
"""Of each run of `fit`, in order."""


def test_the_rest_of_the_epoch_is_left_out_and_the_next_begins(tmp_path: Path) -> None:
    result = fit(Ends(2), folder=tmp_path)

    assert result.outcome.step == 2 + EPOCH + EPOCH
    assert [step for step, _ in result.history.points("val/loss")] == [2, 7, 12]
    assert [step for step, _ in result.history.points("train/loss")] == [2, 7, 12]


def test_at_the_last_step_of_an_epoch_nothing_is_left_out(tmp_path: Path) -> None:
    result = fit(Ends(EPOCH), folder=tmp_path)

    assert result.outcome.step == 3 * EPOCH
    assert result.ended_epochs == ()


def test_it_is_recorded_who_asked_and_why(tmp_path: Path) -> None:
    result = fit(Ends(2, 9), folder=tmp_path)

    assert list(result.ended_epochs) == [
        EndedEpoch(0, 2, "enough of it", "ends"),
        EndedEpoch(2, 9, "enough of it", "ends"),
    ]


def test_the_epoch_ends_as_one_whose_data_is_over(tmp_path: Path) -> None:
    events = Recorder()
    fit(Ends(2), events, folder=tmp_path, epochs=2)

    check_grammar(events.events)
    names = [event.name for event in events.events]
    assert names.count("on_epoch_end") == names.count("on_train_epoch_end") == 2


def test_an_evaluation_that_is_due_at_that_step_is_made_once(tmp_path: Path) -> None:
    result = fit(Ends(2), folder=tmp_path, evaluate_every="2 steps or 1 epoch", epochs=1)

    assert [step for step, _ in result.history.points("val/loss")] == [2]


def test_a_step_of_several_batches_is_finished_first(tmp_path: Path) -> None:
    class InTheStep(Callback):
        def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
            run.end_epoch("in the first of two batches")

    seen: list[tuple[int, int]] = []

    class Looks(Callback):
        def on_train_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
            seen.append((run.progress.steps_completed, run.progress.batches_completed))

    fit(InTheStep(), Looks(), folder=tmp_path, accumulate=2, epochs=2)
    assert seen == [(1, 2), (2, 4)]


def test_a_stop_at_the_same_step_finds_the_epoch_complete(tmp_path: Path) -> None:
    class Stops(Callback):
        def on_step_end(self, run: Run) -> None:
            if run.progress.steps_completed == 2:
                run.stop("enough of all")

    result = fit(Ends(2), Stops(), folder=tmp_path)

    assert (result.outcome.step, result.outcome.reason) == (2, "enough of all")
    assert [step for step, _ in result.history.points("val/loss")] == [2]


# --- resumed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("from_step", [1, 2, 3, 7])
def test_a_run_resumed_from_any_step_is_bitwise_the_unbroken_one(
    tmp_path: Path, from_step: int
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    unbroken = fit(Ends(2, 8), Checkpoint("1 step", keep_last=None), folder=whole)
    checkpoint = min((whole / "checkpoints").glob(f"step-*0{from_step}"))
    resumed = fit(Ends(2, 8), folder=parts, resume=checkpoint)

    assert torch.equal(weights[-1], weights[-2])
    assert resumed.ended_epochs == unbroken.ended_epochs
    assert resumed.history.points("train/loss") == unbroken.history.points("train/loss")
    assert resumed.history.points("val/loss") == unbroken.history.points("val/loss")


def test_what_is_saved_at_that_step_is_saved_once_the_epoch_has_ended(tmp_path: Path) -> None:
    fit(Ends(2), Checkpoint("1 step", keep_last=None), folder=tmp_path, epochs=1)
    saved = [open_checkpoint(path) for path in (tmp_path / "checkpoints").glob("step-*")]
    phases = {one.manifest.step: one.state()["loop"]["phase"] for one in saved}

    assert phases[1] == "training"
    assert phases[2] != "training"


def test_worker_processes_that_persist_go_on_with_the_next_epoch(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(Ends(2), Checkpoint("1 epoch", keep_last=None), folder=whole, workers=1, epochs=2)
    (saved,) = (whole / "checkpoints").glob("step-*2")
    resumed = fit(Ends(2), folder=parts, workers=1, epochs=2, resume=saved)

    assert resumed.outcome.step == 2 + EPOCH
    assert torch.equal(weights[-1], weights[-2])


@pytest.mark.parametrize("evaluate_every", ["1 epoch", "2 steps or 1 epoch"])
def test_a_signal_at_the_same_step_leaves_the_evaluation_to_the_resume(
    tmp_path: Path, evaluate_every: str
) -> None:
    class Signals(Callback):
        def on_step_end(self, run: Run) -> None:
            if run.progress.steps_completed == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    given: dict[str, Any] = {"epochs": 2, "evaluate_every": evaluate_every}
    with pytest.raises(SystemExit):
        fit(Ends(2), Signals(), Checkpoint("1 epoch"), folder=tmp_path / "run", **given)
    resumed = fit(Ends(2), Checkpoint("1 epoch"), folder=tmp_path / "run", resume="auto", **given)
    unbroken = fit(Ends(2), folder=tmp_path / "other", **given)

    assert resumed.history.points("val/loss") == unbroken.history.points("val/loss")
    assert torch.equal(weights[-1], weights[-2])


def test_a_return_to_a_checkpoint_drops_what_was_asked_in_its_steps(tmp_path: Path) -> None:
    class GoesBack(Callback):
        done = False

        def on_step_end(self, run: Run) -> None:
            if run.progress.steps_completed == 2 and not self.done:
                self.done = True
                run.end_epoch("both at once")
                run.roll_back("both at once")

    result = fit(GoesBack(), Checkpoint("1 step"), folder=tmp_path, epochs=1)

    assert (result.outcome.step, result.ended_epochs) == (EPOCH, ())


# --- refused, or too late ----------------------------------------------------------------------


def test_asked_where_no_step_is_to_come_it_is_dropped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Late(Callback):
        def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
            run.end_epoch("too late")

    result = fit(Late(), folder=tmp_path, epochs=2)

    assert (result.outcome.step, result.ended_epochs) == (2 * EPOCH, ())
    assert "asked for the end of the epoch where no step of it was to come" in caplog.text


def test_asked_in_an_evaluation_between_steps_it_ends_the_epoch_there(tmp_path: Path) -> None:
    class Between(Callback):
        def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
            if run.progress.steps_completed == 2:
                run.end_epoch("good enough")

    result = fit(Between(), folder=tmp_path, evaluate_every="2 steps", epochs=1)
    assert [(one.step, one.asked_by) for one in result.ended_epochs] == [(2, "between")]


def test_data_that_would_go_on_with_its_rest_is_refused(tmp_path: Path) -> None:
    task = tiny_regression()
    made = task.trainer(callbacks=[Ends(1)])
    with pytest.raises(UsageError, match="the next one would go on with its rest"):
        made.fit(iter(list(task.train)), steps=3)
