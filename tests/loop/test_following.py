from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from tests.proof import programs
from trackside import Callback, Run, Settings, Trainer
from trackside.errors import ConfigurationError
from trackside.loop import following
from trackside.loop.following import STEPS, Following, ResumeDiffersError

STEP = "checkpoints/step-0000000007"


class Shown:
    """Points as samples of a map-style data set, so that a loader loads them one by one."""

    def __init__(self, seed: int = 0, scale: float = 1.0) -> None:
        self.inputs, self.target = programs.points(64, seed).tensors
        self.scale = scale

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index] * self.scale, self.target[index]


class Order(Sampler[int]):
    """The samples in an order of its seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __len__(self) -> int:
        return 64

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed)
        yield from torch.randperm(64, generator=generator).tolist()


def loader(data: Any, **options: Any) -> DataLoader[Any]:
    return DataLoader(data, batch_size=8, **{"shuffle": True, **options})


def train(folder: Path, data: Any, *, resume: Any = None, steps: int = 14, **options: Any) -> None:
    trainer = programs.made(str(folder), **options)
    size = None if isinstance(data, DataLoader) else 8
    trainer.fit(data, steps=steps, batch_size=size, resume=resume)


def resumed(folder: Path, data: Any, caplog: pytest.LogCaptureFixture, **options: Any) -> list[str]:
    """What a resume from step 7 says."""
    caplog.clear()
    train(folder, data, resume=folder / STEP, **options)
    return [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]


# --- honest resumes ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tensors", "loader", "random"])
def test_an_honest_resume_says_nothing(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = {
        "tensors": lambda: programs.points(64, 0),
        "loader": lambda: loader(Shown()),
        "random": lambda: loader(programs.Noisy(64)),
    }[kind]
    train(tmp_path, data())
    assert resumed(tmp_path, data(), caplog) == []


def test_another_number_of_workers_is_not_another_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, loader(programs.Noisy(64), num_workers=1))
    assert resumed(tmp_path, loader(programs.Noisy(64), num_workers=2), caplog) == []


def test_steps_of_several_batches_are_compared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, programs.points(128, 0), accumulate=2)
    assert resumed(tmp_path, programs.points(128, 0), caplog, accumulate=2) == []
    [said] = resumed(tmp_path, programs.points(128, 3), caplog, accumulate=2)
    assert "other contents" in said


# --- what differs ------------------------------------------------------------------------------


def test_replaced_data_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, programs.points(64, 0))
    [said] = resumed(tmp_path, programs.points(64, 1), caplog, steps=24)
    assert "its samples have the same numbers and other contents (step 8)" in said


def test_the_first_difference_is_reported_though_its_note_is_made_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path, programs.points(64, 0))
    monkeypatch.setattr(following, "AT_ONCE_BYTES", -1)
    note, compare = Following._note, Following._compare
    second, last = threading.Event(), threading.Event()

    def noted(self: Following, steps: Any, conditions: list[int], saver: Any) -> None:
        numbers = [step.number for step in steps]
        if 8 in numbers:
            last.wait()
        note(self, steps, conditions, saver)
        if 9 in numbers:
            second.set()

    def compared(self: Following, *, wait: bool) -> None:
        if wait:
            last.set()
        elif len(self._threads) == 2:
            second.wait()
        compare(self, wait=wait)

    monkeypatch.setattr(Following, "_note", noted)
    monkeypatch.setattr(Following, "_compare", compared)
    [said] = resumed(tmp_path, programs.points(64, 1), caplog, steps=24)
    assert "(step 8)" in said


@pytest.mark.parametrize(("limit_bytes", "beside"), [(following.AT_ONCE_BYTES, False), (-1, True)])
def test_small_batches_are_noted_by_the_loop_and_others_by_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit_bytes: int, beside: bool
) -> None:
    note, beside_it = Following._note, set[bool]()

    def noted(self: Following, steps: Any, conditions: list[int], saver: Any) -> None:
        beside_it.add(threading.current_thread() is not threading.main_thread())
        note(self, steps, conditions, saver)

    monkeypatch.setattr(following, "AT_ONCE_BYTES", limit_bytes)
    monkeypatch.setattr(Following, "_note", noted)
    train(tmp_path, programs.points(64, 0))
    assert beside_it == {beside}


class Fails(Callback):
    def on_step_end(self, run: Run) -> None:
        if run.progress.steps_completed == 9:
            raise RuntimeError("planted")


def test_what_followed_a_checkpoint_before_an_error_is_noted(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="planted"):
        train(tmp_path, programs.points(64, 0), callbacks={"fails": Fails()})
    for thread in threading.enumerate():
        if thread.name == "trackside-following":
            thread.join()
    [file] = (tmp_path / "checkpoints").glob("following.*.jsonl")
    notes = [json.loads(line) for line in file.read_text().splitlines()]
    assert 8 in [note["step"] for note in notes if note["after"].startswith("7:")]


def test_a_run_that_goes_on_in_another_folder_is_compared_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path / "first", programs.points(64, 0))
    train(tmp_path / "second", programs.points(64, 1), resume=tmp_path / "first" / STEP)
    assert len([r for r in caplog.records if "other contents" in r.getMessage()]) == 1


def test_another_transform_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, loader(Shown()))
    [said] = resumed(tmp_path, loader(Shown(scale=1.0001)), caplog)
    assert "its samples have the same numbers and other contents" in said


def test_a_moved_sample_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, programs.points(64, 0))
    inputs, target = (one.clone() for one in programs.points(64, 0).tensors)
    # The last three steps of an epoch of eight, and the first ones of the next: 24 of 64 samples.
    inputs[:48], target[:48] = inputs[:48].roll(1, 0), target[:48].roll(1, 0)
    [said] = resumed(tmp_path, TensorDataset(inputs, target), caplog)
    assert "other contents" in said


def test_another_order_is_reported_with_its_samples(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, loader(Shown(), shuffle=False, sampler=Order(0)))
    [said] = resumed(tmp_path, loader(Shown(), shuffle=False, sampler=Order(1)), caplog)
    assert "it takes the samples" in said
    assert "another order" in said


def test_another_loss_of_the_same_batch_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, programs.points(64, 0))
    smoothed = nn.CrossEntropyLoss(label_smoothing=0.01)
    [said] = resumed(tmp_path, programs.points(64, 0), caplog, loss=smoothed)
    assert "with the same batch, its loss is" in said


def test_losses_after_a_change_that_was_reported_are_not_reported_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, programs.points(64, 0))
    smoothed = nn.CrossEntropyLoss(label_smoothing=0.01)
    [said] = resumed(tmp_path, programs.points(64, 0), caplog, loss=smoothed, lr=0.06)
    assert "the optimizer 'optimizer' goes on with lr=0.05" in said


def test_a_run_may_end_where_it_would_go_on_otherwise(tmp_path: Path) -> None:
    train(tmp_path, programs.points(64, 0))
    trainer = programs.made(str(tmp_path))
    trainer.settings = Settings(device="cpu", directory=tmp_path, on_resume_differs="raise")
    with pytest.raises(ResumeDiffersError, match="other contents"):
        trainer.fit(programs.points(64, 1), steps=14, batch_size=8, resume=tmp_path / STEP)
    assert trainer.result is not None
    assert trainer.result.outcome.step == 8, "known before the second step"


def test_of_two_steps_before_a_kill_two_are_compared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, programs.points(64, 0), steps=9)
    assert len(notes(tmp_path)) == 2
    assert resumed(tmp_path, programs.points(64, 0), caplog) == []


def test_other_numbers_of_batches_in_a_step_are_not_compared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, programs.points(64, 0))
    [said] = resumed(tmp_path, programs.points(64, 0), caplog, accumulate=2)
    assert "batches per step is accumulate=2" in said


def test_after_a_return_in_the_run_nothing_is_compared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class GoesBack(Callback[Run]):
        def on_step_end(self, run: Run) -> None:
            if run.progress.steps_completed == 8 and not run.rollbacks:
                run.roll_back("once", leave_out=[run.data["train"].identify(0, 7)])

    train(tmp_path, programs.points(64, 0), callbacks={"goes_back": GoesBack()})
    assert not [r for r in caplog.records if "does not go on" in r.getMessage()]


def test_after_a_resume_and_a_return_nothing_is_compared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class GoesBack(Callback[Run]):
        def on_step_end(self, run: Run) -> None:
            if run.progress.steps_completed == 8 and not run.rollbacks:
                run.roll_back("once", leave_out=[run.data["train"].identify(0, 7)])

    train(tmp_path, programs.points(64, 0))
    said = resumed(tmp_path, programs.points(64, 0), caplog, callbacks={"goes_back": GoesBack()})
    assert not [text for text in said if "does not go on" in text]


# --- what it costs, and where it is written ----------------------------------------------------


def notes(folder: Path) -> list[str]:
    [file] = (folder / "checkpoints").glob("following.*.jsonl")
    return file.read_text().splitlines()


def test_a_few_steps_are_noted_after_each_checkpoint(tmp_path: Path) -> None:
    train(tmp_path, programs.points(64, 0), steps=24)
    assert len(notes(tmp_path)) == 3 * STEPS


def test_each_save_has_its_own_steps(tmp_path: Path) -> None:
    train(tmp_path, programs.points(64, 0), steps=6, every="1 step")
    assert len(notes(tmp_path)) == STEPS * 3 + 2 + 1, "of steps 1, 2, 3, of 4, and of 5"


def test_later_steps_take_the_short_way_again(tmp_path: Path) -> None:
    class Ways(Callback[Run]):
        plain: list[bool] = []

        def on_step_end(self, run: Run) -> None:
            training = trainer._training
            assert training is not None
            self.plain.append(training.listeners.plain_forward)

    trainer = programs.made(str(tmp_path), callbacks={"ways": Ways()})
    trainer.fit(programs.points(64, 0), steps=14, batch_size=8)
    assert Ways.plain == [True] * 7 + [False] * STEPS + [True] * 4


def test_nothing_is_noted_where_nothing_is_to_be_compared(tmp_path: Path) -> None:
    trainer = programs.made(str(tmp_path))
    trainer.settings = Settings(device="cpu", directory=tmp_path, on_resume_differs=None)
    trainer.fit(programs.points(64, 0), steps=14, batch_size=8)
    assert not list((tmp_path / "checkpoints").glob("following*"))


def test_notes_that_cannot_be_written_are_reported_and_training_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class InTheWay(Callback[Run]):
        def on_fit_start(self, run: Run) -> None:
            (run.directory / "checkpoints" / f"following.{run.id}.0.jsonl").mkdir(parents=True)

    train(tmp_path, programs.points(64, 0), callbacks={"in_the_way": InTheWay()})
    assert [r.getMessage() for r in caplog.records if "can't be noted" in r.getMessage()]


def test_the_notes_of_a_run_leave_its_weights_as_they_were(tmp_path: Path) -> None:
    weights = []
    for choice in ("warn", None):
        trainer: Trainer = programs.made(str(tmp_path / str(choice)))
        trainer.settings = Settings(
            device="cpu", directory=tmp_path / str(choice), on_resume_differs=choice
        )
        trainer.fit(loader(programs.Noisy(64)), steps=14)
        weights.append(
            torch.cat([p.detach().flatten() for p in trainer.models["model"].parameters()])
        )
    assert torch.equal(*weights)


def test_another_choice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="on_resume_differs"):
        Settings(on_resume_differs="ask")  # type: ignore[arg-type]
