from __future__ import annotations

import csv
import random
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, TensorDataset

from trackside import Callback, PeriodicCallback, Settings, Trainer
from trackside.callbacks import (
    EMA,
    SWA,
    AccumulationSchedule,
    Checkpoint,
    CSVLogger,
    JSONLinesLogger,
    LRScheduler,
    OnlineLoss,
    ParameterSchedule,
)
from trackside.checkpoint import writer
from trackside.errors import CheckpointError, UsageError
from trackside.progress import TrainingBatch
from trackside.run import Rollback, Run
from trackside.testing import Recorder, check_grammar, tiny_regression

SAMPLES, SIZE = 30, 4


class Noisy(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Samples with random augmentation from all three generators."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.rand(3) + float(np.random.rand()) + random.random()
        return torch.full((3,), index / SAMPLES) + 0.1 * noise, torch.tensor([float(index)])


class Without(BatchSampler):
    """Shuffled batches without those of certain places: what a run that goes back is held to."""

    def __init__(self, data: Dataset[Any], gaps: set[tuple[int, int]]) -> None:
        super().__init__(RandomSampler(data), SIZE, drop_last=False)  # type: ignore[arg-type]
        self.gaps, self.epoch = gaps, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        for number, batch in enumerate(super().__iter__()):
            if (self.epoch, number) not in self.gaps:
                yield batch


class GoBack(Callback):
    """Asks to go back after certain steps, once each, without the batch of the step."""

    def __init__(self, *steps: int, leave_out: bool = True) -> None:
        self.open, self.leave_out = list(steps), leave_out
        self.seen: list[Rollback] = []
        self.left_out: set[tuple[int, int]] = set()

    def on_step_end(self, run: Run) -> None:
        if run.progress.steps_completed in self.open:
            self.open.remove(run.progress.steps_completed)
            progress = run.progress
            source = run.data["train"]
            bad = source.identify(progress.epochs_completed, progress.epoch_batches_completed - 1)
            run.roll_back("a test", leave_out=[bad] if self.leave_out else [])

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        self.seen.append(rollback)
        self.left_out |= {(batch.epoch, batch.number) for batch in rollback.left_out}


class Counting(PeriodicCallback):
    """Has a state, and logs on a schedule."""

    def __init__(self, every: str) -> None:
        super().__init__(every)
        self.fired = 0

    def on_due(self, run: Run) -> None:
        self.fired += 1
        run.log(f"fired/{run.callbacks.name_of(self)}", self.fired)

    def state_dict(self) -> dict[str, Any]:
        return {"fired": self.fired}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.fired = state["fired"]


def model() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 1)
    )


def trainer(folder: str, *callbacks: Callback, **options: Any) -> Trainer:
    return Trainer(
        model,
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.AdamW(p, lr=0.01),
        callbacks=[Counting("1 epoch"), Counting("3 steps"), *callbacks],
        defaults=False,
        seed=3,
        settings=Settings(directory=folder, log_every="4 steps"),
        **options,
    )


def tensors() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(
        torch.rand(SAMPLES, 3, generator=generator), torch.rand(SAMPLES, 1, generator=generator)
    )


def rows(result: Any) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in result.history.rows()]


def same_weights(one: Trainer, other: Trainer) -> bool:
    ours, theirs = one.models["model"].state_dict(), other.models["model"].state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


LOADERS: dict[str, dict[str, Any]] = {
    "tensors": {},
    "plain": {},
    "workers": {"num_workers": 2},
    "persistent workers": {"num_workers": 1, "persistent_workers": True},
}


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        ("tensors", (6,)),
        ("tensors", (8, 9)),  # the end of an epoch, and right after going back
        ("plain", (6, 13, 14)),
        ("plain", (23,)),  # close to the end of the run
        ("workers", (6, 12)),
        ("persistent workers", (6, 12)),
    ],
)
def test_it_ends_as_a_run_whose_data_never_gave_the_batches_left_out(
    kind: str, steps: tuple[int, ...]
) -> None:
    data: Any = tensors() if kind == "tensors" else Noisy()
    back = GoBack(*steps)
    first = trainer("rolled back", back, Checkpoint("4 steps"))
    loader = DataLoader(data, SIZE, shuffle=True, **LOADERS[kind])
    result = first.fit(loader, tensors(), epochs=3)

    never = trainer("never", Checkpoint("4 steps"))
    gaps = Without(data, back.left_out)
    expected = never.fit(DataLoader(data, batch_sampler=gaps, **LOADERS[kind]), tensors(), epochs=3)

    assert len(back.seen) == len(steps)
    assert rows(result) == rows(expected)
    assert same_weights(first, never)


def test_without_batches_to_leave_out_the_same_steps_are_taken_again() -> None:
    first = trainer("rolled back", GoBack(7, 17, leave_out=False), Checkpoint("3 steps"))
    never = trainer("never", Checkpoint("3 steps"))

    result = first.fit(Noisy(), epochs=3, batch_size=SIZE)
    expected = never.fit(Noisy(), epochs=3, batch_size=SIZE)

    assert rows(result) == rows(expected)
    assert same_weights(first, never)


def test_what_callbacks_hold_goes_back_too() -> None:
    def callbacks() -> list[Callback]:
        return [
            EMA(0.9, every="2 steps"),
            SWA("4 steps", every="2 steps"),
            OnlineLoss("5 steps"),
            LRScheduler("step", {"step_size": 2}, interval="epoch"),
            ParameterSchedule("optimizer.weight_decay", "linear", 0.5, 0.0, length="20 steps"),
            AccumulationSchedule({6: 2}, unit="steps"),
            Checkpoint("5 steps"),
        ]

    first = trainer("rolled back", GoBack(9, 12, leave_out=False), *callbacks())
    never = trainer("never", *callbacks())

    result = first.fit(Noisy(), epochs=4, batch_size=SIZE)
    expected = never.fit(Noisy(), epochs=4, batch_size=SIZE)

    assert rows(result) == rows(expected)
    assert same_weights(first, never)
    ours, theirs = (t.callbacks[EMA].weights() for t in (first, never))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_files_of_records_hold_no_row_twice_and_none_that_was_dropped() -> None:
    first = trainer("run", GoBack(11), Checkpoint("5 steps"), CSVLogger(), JSONLinesLogger())

    result = first.fit(Noisy(), epochs=2, batch_size=SIZE)

    with open("run/history.csv") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == [record.step for record in result.history]
    assert len(Path("run/history.jsonl").read_text().splitlines()) == len(steps)


def test_axes_of_the_history_never_go_back() -> None:
    first = trainer("run", GoBack(11, 14), Checkpoint("5 steps"))

    history = list(first.fit(Noisy(), epochs=2, batch_size=SIZE).history)

    for axis in ("step", "epoch", "samples", "seconds"):
        values = [getattr(record, axis) for record in history]
        assert values == sorted(values), axis


class Remembering(Callback):
    """What the run knows of its returns, at its end."""

    def on_fit_end(self, run: Run) -> None:
        self.rollbacks = list(run.rollbacks)


def test_a_resumed_run_remembers_where_it_went_back_and_what_it_left_out() -> None:
    options: dict[str, Any] = {"epochs": 3, "batch_size": SIZE}
    back = GoBack(6)
    unbroken = trainer("unbroken", GoBack(6), Checkpoint("4 steps"))
    expected = unbroken.fit(Noisy(), **options)
    trainer("run", back, Checkpoint("4 steps")).fit(Noisy(), steps=7, batch_size=SIZE)

    remembering = Remembering()
    resumed = trainer("run", remembering, Checkpoint("4 steps"))
    result = resumed.fit(Noisy(), resume="auto", **options)

    assert remembering.rollbacks == back.seen
    assert rows(result)[-1] == rows(expected)[-1]
    assert same_weights(resumed, unbroken)


def test_it_says_from_where_to_where_and_which_samples() -> None:
    back = GoBack(6)

    trainer("run", back, Checkpoint("4 steps")).fit(tensors(), steps=7, batch_size=SIZE)

    (seen,) = back.seen
    (batch,) = seen.left_out
    assert (seen.from_step, seen.to_step, seen.asked_by) == (6, 4, "go_back")
    assert (batch.epoch, batch.number, len(batch.samples)) == (0, 5, SIZE)
    assert str(batch).startswith("batch 5 of epoch 0, both from 0 (samples ")


@pytest.mark.parametrize("kind", LOADERS)
def test_the_samples_of_a_batch_are_those_that_the_loader_gave(kind: str) -> None:
    class Indices(Dataset[Any]):
        def __len__(self) -> int:
            return SAMPLES

        def __getitem__(self, index: int) -> Any:
            return torch.tensor([0.0, 0.0, float(index)]), torch.zeros(1)

    given: list[tuple[int, ...]] = []
    known: list[tuple[int, ...]] = []

    class Compare(Callback):
        def on_fit_start(self, run: Run) -> None:
            run.data["train"].remember()

        def on_batch_start(self, run: Run, batch: Any) -> None:
            given.append(tuple(batch[0][:, 2].int().tolist()))
            known.append(run.data["train"].identify(0, run.progress.batches_completed).samples)

    rows = torch.stack([torch.tensor([0.0, 0.0, float(i)]) for i in range(SAMPLES)])
    data: Any = Indices() if kind != "tensors" else TensorDataset(rows, torch.zeros(SAMPLES, 1))
    loader = DataLoader(data, SIZE, shuffle=True, **LOADERS[kind])

    trainer("run", Compare()).fit(loader, epochs=1)

    assert known == given


def test_batches_without_a_sampler_are_known_by_their_number() -> None:
    torch.manual_seed(0)
    batches = [(torch.rand(4, 3), torch.rand(4, 1)) for _ in range(6)]
    back = GoBack(3)
    first = trainer("run", back, Checkpoint("2 steps"))
    never = trainer("never", Checkpoint("2 steps"))

    with pytest.warns(UserWarning, match="can't skip"):
        result = first.fit(batches, epochs=1)
    expected = never.fit(batches[:2] + batches[3:], epochs=1)

    assert back.seen[0].left_out == (TrainingBatch(0, 2),)
    assert rows(result) == rows(expected)
    assert same_weights(first, never)


def test_without_a_checkpoint_the_error_says_what_to_add() -> None:
    match = "no checkpoint to go back to from step 3"
    with pytest.raises(CheckpointError, match=match) as raised:
        trainer("run", GoBack(3), Checkpoint("9 steps")).fit(Noisy(), epochs=1, batch_size=SIZE)
    assert "Checkpoint(every='100 steps')" in str(raised.value)

    with pytest.raises(CheckpointError, match="add the callback `Checkpoint"):
        trainer("other", GoBack(3)).fit(Noisy(), epochs=1, batch_size=SIZE)


def test_the_checkpoint_of_another_run_in_the_folder_is_not_taken() -> None:
    trainer("run", Checkpoint("2 steps")).fit(Noisy(), steps=4, batch_size=SIZE)

    with pytest.raises(CheckpointError, match="no checkpoint to go back to"):
        trainer("run", GoBack(3), Checkpoint("100 steps")).fit(Noisy(), steps=4, batch_size=SIZE)


def test_a_run_that_was_resumed_can_go_back_to_where_it_came_from() -> None:
    trainer("run", Checkpoint("2 steps")).fit(Noisy(), steps=4, batch_size=SIZE)
    origin = min(Path("run/checkpoints").glob("step-0000000004*"))

    back = GoBack(6)
    resumed = trainer("other", back, Checkpoint("100 steps"))
    resumed.fit(Noisy(), steps=8, batch_size=SIZE, resume=origin)

    assert [(r.from_step, r.to_step) for r in back.seen] == [(6, 4)]


@pytest.mark.parametrize(("step", "goes_to"), [(3, 2), (6, 4)], ids=["at once", "after a save"])
def test_a_run_resumed_from_an_earlier_checkpoint_never_goes_forward_to_a_later_one(
    step: int, goes_to: int
) -> None:
    def checkpoint() -> Checkpoint:
        return Checkpoint("4 steps", keep_last=None, background=False)

    trainer("run", Checkpoint("2 steps", keep_last=None)).fit(Noisy(), steps=8, batch_size=SIZE)

    back = GoBack(step)
    trainer("run", back, checkpoint()).fit(Noisy(), steps=8, batch_size=SIZE, resume=2)

    assert [(one.from_step, one.to_step) for one in back.seen] == [(step, goes_to)]


def test_a_run_begun_elsewhere_goes_back_there_though_its_folder_holds_others() -> None:
    trainer("first", Checkpoint("2 steps", keep_last=None)).fit(Noisy(), steps=4, batch_size=SIZE)
    origin = Path("first/checkpoints/step-0000000002")
    trainer("run", Checkpoint("2 steps")).fit(Noisy(), steps=8, batch_size=SIZE, resume=origin)

    back = GoBack(3)
    again = trainer("run", back, Checkpoint("100 steps"))
    again.fit(Noisy(), steps=4, batch_size=SIZE, resume=origin)

    assert [(one.from_step, one.to_step) for one in back.seen] == [(3, 2)]


def test_data_that_can_be_passed_over_once_only_is_refused() -> None:
    def once() -> Iterable[Any]:
        for _ in range(9):
            yield torch.rand(4, 3), torch.rand(4, 1)

    with pytest.raises(UsageError, match="the training data can't"):
        trainer("run", GoBack(3), Checkpoint("2 steps")).fit(once(), steps=9)


def test_what_is_asked_for_with_it_is_dropped_but_a_stop_holds() -> None:
    class Also(Callback):
        def on_step_end(self, run: Run) -> None:
            if run.progress.steps_completed == 5 and not run.rollbacks:
                run.save("of what is dropped")
                run.evaluate("val")
                run.stop("enough")

    first = trainer("run", GoBack(5), Also(), Checkpoint("2 steps", at_end=False))

    result = first.fit(Noisy(), tensors(), steps=9, batch_size=SIZE)

    assert (result.outcome.step, result.outcome.reason) == (4, "enough")
    assert "val/loss" not in result.history.names
    assert not list(Path("run/checkpoints").glob("step-0000000005*"))


def test_asked_while_a_checkpoint_is_made_that_one_is_not_written() -> None:
    class Refuse(Callback):
        def on_checkpoint_save(self, run: Run, state: dict[str, Any]) -> None:
            if run.progress.steps_completed == 6 and not run.rollbacks:
                run.roll_back("it is no good")

    saved: list[str] = []

    class Saved(Callback):
        def on_checkpoint_saved(self, run: Run, checkpoint: Path) -> None:
            saved.append(checkpoint.name)

    first = trainer("run", Refuse(), Saved(), Checkpoint("3 steps", at_end=False))

    first.fit(Noisy(), steps=7, batch_size=SIZE)

    assert saved == ["step-0000000003", "step-0000000006"]


def test_asked_after_the_end_of_training_it_is_an_error() -> None:
    class TooLate(Callback):
        def on_fit_end(self, run: Run) -> None:
            run.roll_back("on second thoughts")

    with pytest.raises(UsageError, match="after the end of training: on second thoughts"):
        trainer("run", TooLate(), Checkpoint("2 steps")).fit(Noisy(), steps=5, batch_size=SIZE)


def test_events_keep_their_order() -> None:
    recorder = Recorder()
    first = trainer("run", GoBack(8, 13), recorder, Checkpoint("3 steps"))

    result = first.fit(Noisy(), tensors(), epochs=2, batch_size=SIZE)

    names = [e.name for e in recorder.events if e.name != "on_checkpoint_saved"]
    check_grammar(recorder.events, result.outcome)
    assert names.count("on_roll_back") == 2
    assert names.count("on_fit_start") == 1
    at = names.index("on_roll_back")
    assert names[at - 3 : at + 3] == [
        "on_train_epoch_end",
        "on_epoch_end",
        "on_checkpoint_load",
        "on_roll_back",
        "on_epoch_start",
        "on_train_epoch_start",
    ]


def test_the_checkpoint_under_way_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()
    commit = writer.__dict__["commit"]

    def late(*args: Any, **options: Any) -> Any:
        if args[1].step == 4:
            asked.wait()
        return commit(*args, **options)

    monkeypatch.setattr(writer, "commit", late)

    class Back(GoBack):
        def on_step_end(self, run: Run) -> None:
            super().on_step_end(run)
            if not self.open:
                asked.set()

    back = Back(5)

    trainer("run", back, Checkpoint("2 steps")).fit(Noisy(), steps=6, batch_size=SIZE)

    assert [(r.from_step, r.to_step) for r in back.seen] == [(5, 4)]


class AskAtTheEndOfAnEpoch(Callback):
    def on_evaluation_end(self, run: Run, evaluation: Any) -> None:
        if not run.rollbacks:
            run.roll_back("after an evaluation")


def test_asked_in_an_evaluation_the_epoch_is_trained_anew() -> None:
    first = trainer("run", AskAtTheEndOfAnEpoch(), Checkpoint("3 steps"))
    never = trainer("never", Checkpoint("3 steps"))

    result = first.fit(Noisy(), tensors(), epochs=2, batch_size=SIZE)
    expected = never.fit(Noisy(), tensors(), epochs=2, batch_size=SIZE)

    assert rows(result) == rows(expected)
    assert same_weights(first, never)


def test_no_gradient_is_carried_back_to_the_checkpoint() -> None:
    """What the steps that are dropped have left behind would go into the first step again."""
    seen: list[bool] = []

    class Leaves(Callback):
        def on_step_end(self, run: Run) -> None:
            if run.progress.steps_completed == 3 and not run.rollbacks:
                for parameter in run.model.parameters():
                    parameter.grad = torch.ones_like(parameter)
                run.roll_back("to see what is left")

        def on_roll_back(self, run: Run, rollback: Rollback) -> None:
            seen.extend(bool(p.grad is not None and p.grad.any()) for p in run.model.parameters())

    task = tiny_regression()
    trainer = task.trainer(
        callbacks=[Checkpoint("1 step"), Leaves()], settings=Settings(directory="run", device="cpu")
    )
    trainer.fit(task.train, steps=4)

    assert seen == [False, False]
