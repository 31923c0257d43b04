"""BestCheckpoint keeps the best, nothing that isn't finite, and no file that its list lacks."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from trackside.callbacks.saving import best_checkpoint
from trackside.callbacks.saving.best_checkpoint import BestCheckpoint
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.callbacks.saving.weight_files import write_weights
from trackside.distributed.world import World
from trackside.errors import CheckpointError, ConfigurationError
from trackside.history import Record
from trackside.lifecycle.hooks import Callback
from trackside.outcome import Outcome, Status
from trackside.run import Run
from trackside.schedule import Every
from trackside.testing import tiny_regression
from trackside.trainer.settings import Settings


def a_run(folder: Path) -> Run:
    run = Run("fit", folder)
    run.models = {"model": nn.Linear(1, 1, bias=False)}
    run.world = World(0, 1)
    return run


def feed(best: BestCheckpoint, run: Run, *values: float, first: int = 1) -> None:
    """One record per value; the weight is the step it was measured after."""
    for step, value in enumerate(values, start=first):
        with torch.no_grad():
            next(run.model.parameters()).fill_(step)
        best.on_log(run, Record({"val/loss": value}, step, 0, 0, 0.0))
    best.on_checkpoint_save(run, {})  # waits until all is written


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "best").iterdir())


def test_the_k_best_stay_and_the_list_tells_their_values(tmp_path: Path) -> None:
    best, run = BestCheckpoint(keep=2), a_run(tmp_path)
    feed(best, run, 5.0, 3.0, 4.0, 6.0)

    names = ["step-0000000002.safetensors", "step-0000000003.safetensors"]
    assert files(tmp_path) == ["best.json", *names]
    listed = json.loads((tmp_path / "best" / "best.json").read_text())["kept"]
    assert [(one["value"], one["step"]) for one in listed] == [(3.0, 2), (4.0, 3)]
    assert load_file(tmp_path / "best" / names[0])["weight"].item() == 2


def test_higher_is_better_where_that_is_said(tmp_path: Path) -> None:
    best = BestCheckpoint(mode="max")
    feed(best, a_run(tmp_path), 0.5, 0.9, 0.7)

    assert best.best == 0.9


def test_a_gain_within_the_tolerance_replaces_nothing(tmp_path: Path) -> None:
    best = BestCheckpoint(min_delta=0.5)
    feed(best, a_run(tmp_path), 3.0, 2.75, 2.25)

    assert [entry["step"] for entry in best.kept] == [3]


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_value_that_is_not_finite_is_never_the_best(tmp_path: Path, value: float) -> None:
    best = BestCheckpoint()
    feed(best, a_run(tmp_path), value)

    assert best.kept == []
    assert not (tmp_path / "best").exists()


def test_weights_that_are_nan_are_not_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    best, run = BestCheckpoint(), a_run(tmp_path)
    feed(best, run, 2.0)
    with torch.no_grad():
        next(run.model.parameters()).fill_(torch.nan)
    best.on_log(run, Record({"val/loss": 1.0}, 2, 0, 0, 0.0))

    assert best.best == 2.0
    assert "not finite and not kept" in caplog.text


def test_the_models_end_with_the_best_weights(tmp_path: Path) -> None:
    best, run = BestCheckpoint(restore=True), a_run(tmp_path)
    feed(best, run, 2.0, 1.0, 3.0)
    best.on_fit_end(run)

    assert next(run.model.parameters()).item() == 2


def test_training_goes_on_while_the_weights_as_they_were_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best, run, may_write = BestCheckpoint(), a_run(tmp_path), threading.Event()
    writing = write_weights

    def late(*arguments: Any) -> None:
        assert may_write.wait(60)
        writing(*arguments)

    monkeypatch.setattr(best_checkpoint, "write_weights", late)
    weight = next(run.model.parameters())
    with torch.no_grad():
        weight.fill_(1)
        best.on_log(run, Record({"val/loss": 2.0}, 1, 0, 0, 0.0))
        weight.fill_(2)
    may_write.set()

    kept = best.best_weights(run)
    assert kept is not None
    assert kept["weight"].item() == 1
    best.on_close(run, Outcome(Status.COMPLETED, "", step=1))


@pytest.mark.parametrize(
    "waits_in", ["on_log", "on_checkpoint_save", "on_fit_end", "best_weights", "on_close"]
)
def test_weights_that_cannot_be_written_are_not_kept_and_the_error_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits_in: str
) -> None:
    best, run = BestCheckpoint(), a_run(tmp_path)
    feed(best, run, 5.0)

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(best_checkpoint, "write_weights", fail)
    best.on_log(run, Record({"val/loss": 3.0}, 2, 0, 0, 0.0))
    then: dict[str, tuple[Any, ...]] = {
        "on_log": (Record({"val/loss": 1.0}, 3, 0, 0, 0.0),),
        "on_checkpoint_save": ({},),
        "on_fit_end": (),
        "best_weights": (),
        "on_close": (Outcome(Status.FAILED, "", step=2),),
    }
    with pytest.raises(OSError, match="No space left"):
        getattr(best, waits_in)(run, *then[waits_in])

    assert [entry["value"] for entry in best.kept] == [5.0]


def test_files_of_weights_that_cannot_be_written_are_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best, run = BestCheckpoint(), a_run(tmp_path)
    assert best.best_files(run) == {}
    feed(best, run, 5.0)
    first = {"model": tmp_path / "best" / "step-0000000001.safetensors"}

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert best.best_files(run) == first
    monkeypatch.setattr(best_checkpoint, "write_weights", fail)
    best.on_log(run, Record({"val/loss": 3.0}, 2, 0, 0, 0.0))
    assert best.best_files(run) == first
    assert first["model"].is_file()
    with pytest.raises(OSError, match="No space left"):
        best.on_close(run, Outcome(Status.FAILED, "", step=2))


def test_a_fit_keeps_its_best_evaluation(tmp_path: Path) -> None:
    task, best = tiny_regression(), BestCheckpoint()
    trainer = task.trainer(callbacks=[best], settings=Settings(directory=tmp_path))
    found = trainer.fit(task.train, task.validation, epochs=3).history.best("val/loss")

    assert found is not None
    assert (best.kept[0]["value"], best.kept[0]["step"]) == (found.value, found.record.step)


def test_a_resumed_run_knows_what_it_kept(tmp_path: Path) -> None:
    first, run = BestCheckpoint(keep=2), a_run(tmp_path)
    feed(first, run, 5.0, 3.0)
    state: Any = first.state_dict()
    feed(first, run, 4.0, first=3)  # after the checkpoint; the file of step 1 is gone
    second = BestCheckpoint(keep=2)
    second.load_state_dict(state)
    run.resumed_from = tmp_path
    second.on_fit_start(run)

    assert second.kept == first.kept


def test_a_resume_that_keeps_fewer_deletes_the_others(tmp_path: Path) -> None:
    first, run = BestCheckpoint(keep=3), a_run(tmp_path)
    feed(first, run, 5.0, 3.0, 4.0)
    second = BestCheckpoint(keep=1)
    second.load_state_dict(first.state_dict())
    run.resumed_from = tmp_path
    second.on_fit_start(run)

    assert [entry["step"] for entry in second.kept] == [2]
    assert files(tmp_path) == ["best.json", "step-0000000002.safetensors"]
    assert json.loads((tmp_path / "best" / "best.json").read_text())["kept"] == second.kept


def test_what_a_run_was_taken_back_from_takes_no_room_where_fewer_are_kept(tmp_path: Path) -> None:
    first, run = BestCheckpoint(keep=3), a_run(tmp_path)
    feed(first, run, 5.0, 3.0)
    state: Any = first.state_dict()
    feed(first, run, 1.0, first=3)
    second = BestCheckpoint(keep=1)
    second.load_state_dict(state)
    run.resumed_from, run.taken_back, run.progress.steps_completed = tmp_path, True, 2
    second.on_fit_start(run)

    assert [entry["step"] for entry in second.kept] == [2]


def test_the_best_of_another_metric_or_direction_counts_no_longer_and_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, run = BestCheckpoint(), a_run(tmp_path)
    feed(first, run, 5.0)
    second = BestCheckpoint(mode="max")
    second.load_state_dict(first.state_dict())
    run.resumed_from = tmp_path
    second.on_fit_start(run)
    feed(second, run, 4.0, first=2)

    assert [entry["step"] for entry in second.kept] == [2]
    assert "step-0000000001.safetensors" in files(tmp_path)
    assert "stay in best, and stand in no list" in caplog.text


def test_weights_of_steps_that_a_run_was_taken_back_from_count_no_longer_and_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, run = BestCheckpoint(keep=2), a_run(tmp_path)
    feed(first, run, 5.0, 3.0)
    state: Any = first.state_dict()
    feed(first, run, 1.0, first=3)
    again = BestCheckpoint(keep=2)
    again.load_state_dict(state)
    run.resumed_from, run.taken_back, run.progress.steps_completed = tmp_path, True, 2
    again.on_fit_start(run)
    feed(again, run, 2.0, first=4)

    assert [entry["step"] for entry in again.kept] == [4, 2]
    assert "step-0000000003.safetensors" in files(tmp_path)
    assert "step 3 count no longer" in caplog.text
    again._find(run)  # as after a rollback: the list on the disk says the same
    assert [entry["step"] for entry in again.kept] == [4, 2]


def test_weights_of_steps_that_a_run_goes_back_from_count_no_longer(tmp_path: Path) -> None:
    class GoesBack(Callback):
        def on_step_end(self, run: Run) -> None:
            if run.progress.steps_completed == 3 and not run.rollbacks:
                run.roll_back("a test")

    class Logs(Callback):
        """Logs a value that is best right before the run goes back."""

        def on_step_end(self, run: Run) -> None:
            step = run.progress.steps_completed
            run.log("checked/error", 0.0 if step == 2 and not run.rollbacks else 9.0 - step)

    task, best = tiny_regression(), BestCheckpoint("checked/error", keep=9)
    saves = Checkpoint(Every(steps=100, first=True), at_end=False)
    trainer = task.trainer(
        callbacks=[best, saves, GoesBack(), Logs()],
        settings=Settings(directory=tmp_path, log_every="1 step"),
    )
    trainer.fit(task.train, steps=4)

    assert [(one["step"], one["value"]) for one in best.kept] == [
        (4, 5.0),
        (3, 6.0),
        (2, 7.0),
        (1, 8.0),
    ]
    listed = json.loads((tmp_path / "best" / "best.json").read_text())["kept"]
    assert listed == best.kept


def test_a_list_that_is_none_is_told(tmp_path: Path) -> None:
    best, run = BestCheckpoint(), a_run(tmp_path)
    feed(best, run, 5.0)
    (tmp_path / "best" / "best.json").write_text("torn")
    run.resumed_from = tmp_path

    with pytest.raises(CheckpointError, match="can't be understood"):
        best.on_fit_start(run)


def test_files_of_another_run_are_left_alone(tmp_path: Path) -> None:
    feed(BestCheckpoint(), a_run(tmp_path), 5.0)
    feed(BestCheckpoint(), a_run(tmp_path), 6.0, 5.0)

    assert files(tmp_path) == [
        "best.json",
        "step-0000000001.safetensors",
        "step-0000000002.safetensors",
    ]
    assert load_file(tmp_path / "best" / "step-0000000001.safetensors")["weight"].item() == 1


@pytest.mark.parametrize("options", [{"keep": 0}, {"min_delta": -1.0}, {"mode": "least"}])
def test_options_that_mean_nothing_are_refused(options: Any) -> None:
    with pytest.raises(ConfigurationError):
        BestCheckpoint(**options)
