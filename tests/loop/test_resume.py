"""What `resume=` means, and what is said when the run has changed since the checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from trackside import Callback, Run, Scheduler, Settings, Trainer, on
from trackside.callbacks.averaging.ema import EMA
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.checkpoint import NoValidCheckpointError
from trackside.errors import CheckpointError, UsageError
from trackside.run import Evaluation

DATA = TensorDataset(torch.linspace(-1, 1, 16)[:, None], torch.linspace(1, -1, 16)[:, None])
Build = Callable[[], nn.Module]


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))


def trainer(folder: Path | None, build: Build = small, *callbacks: Any, **options: Any) -> Trainer:
    own: dict[str, Any] = {
        "loss": nn.MSELoss(),
        "optimizer": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        "defaults": False,
        "settings": Settings(directory=folder),
    }
    saves = [] if any(isinstance(one, Checkpoint) for one in callbacks) else [Checkpoint()]
    return Trainer(build, callbacks=[*saves, *callbacks], **{**own, **options})


def fit(made: Trainer, epochs: int = 2, **options: Any) -> Any:
    return made.fit(DATA, DATA, epochs=epochs, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a run that was trained for two epochs of one step."""
    fit(trainer(tmp_path / "run"))
    return tmp_path / "run"


def test_auto_starts_anew_where_there_is_nothing(tmp_path: Path) -> None:
    assert fit(trainer(tmp_path / "new"), resume="auto").outcome.step == 2


def test_auto_goes_on_from_the_newest(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "trackside"):
        result = fit(trainer(folder), epochs=3, resume="auto")

    assert result.outcome.step == 3
    assert f"resumed from {folder / 'checkpoints' / 'step-0000000002'}, step 2" in caplog.text


def test_a_damaged_one_is_passed_over_and_named(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "checkpoints" / "step-0000000002" / "state.json").write_text("{}")

    result = fit(trainer(folder), epochs=3, resume="auto")

    assert result.history.values("train/loss")[0] is not None
    assert "passed over" in caplog.text
    assert "step-0000000002" in caplog.text
    assert "state.json" in caplog.text


def test_where_all_are_damaged_nothing_is_started_and_nothing_overwritten(folder: Path) -> None:
    for state in (folder / "checkpoints").glob("step-*/state.json"):
        state.write_text("{}")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    with pytest.raises(NoValidCheckpointError, match=r"state\.json"):
        fit(trainer(folder), epochs=3, resume="auto")

    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("what", [1, "1", "path"])
def test_a_step_and_a_path_name_one_checkpoint(
    folder: Path, what: int | str, caplog: pytest.LogCaptureFixture
) -> None:
    named = folder / "checkpoints" / "step-0000000001" if what == "path" else what

    with caplog.at_level(logging.INFO, "trackside"):
        fit(trainer(folder), epochs=3, resume=named)

    assert "step-0000000001, step 1" in caplog.text


def test_best_is_the_one_with_the_best_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def made() -> Trainer:
        return trainer(tmp_path / "run", small, Checkpoint(keep_best=1, monitor="val/loss"))

    first = fit(made(), epochs=4)
    best = first.history.best("val/loss")
    with caplog.at_level(logging.INFO, "trackside"):
        fit(made(), epochs=5, resume="best")

    assert f"step {best.record.step}" in caplog.text


class Breaks(Callback):
    """An error in a step: nothing is saved."""

    def on_batch_start(self, run: Run, batch: Any) -> None:
        raise ValueError("broken")


def test_auto_goes_on_where_the_run_was_taken_back_to_though_nothing_was_saved_since(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match="broken"):
        fit(trainer(folder, small, Breaks()), epochs=3, resume=1)

    with caplog.at_level(logging.INFO, "trackside"):
        fit(trainer(folder), epochs=2, resume="auto")

    assert "passed over step-0000000002: the run was taken back" in caplog.text
    assert "step-0000000001, step 1" in caplog.text


@pytest.mark.parametrize(
    ("which", "is_taken_back"), [("auto", False), (2, False), (1, True)], ids=str
)
def test_a_run_knows_whether_it_was_taken_back(
    folder: Path, which: Any, is_taken_back: bool
) -> None:
    seen: list[bool] = []

    @on(Callback.on_fit_start)
    def look(run: Run) -> None:
        seen.append(run.taken_back)

    fit(trainer(folder, small, look), epochs=3, resume=which)

    assert seen == [is_taken_back]


def test_best_asks_for_a_metric_to_go_by(folder: Path) -> None:
    with pytest.raises(UsageError, match="which checkpoint is the best"):
        fit(trainer(folder), resume="best")


@pytest.mark.parametrize("what", [7, "somewhere/else"])
def test_what_is_not_there_is_told(folder: Path, what: Any) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        fit(trainer(folder), resume=what)


# --- what has changed ----------------------------------------------------------------------------


def wider() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))


def deeper() -> nn.Module:
    return nn.Sequential(*small(), nn.Linear(1, 1))  # type: ignore[misc]


def shallower() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        pytest.param(wider, ["0.weight", "(4, 1)", "(8, 1)"], id="another shape"),
        pytest.param(deeper, ["3.weight", "3.bias", "missing"], id="more layers"),
        pytest.param(shallower, ["2.weight", "2.bias", "not in the model"], id="fewer layers"),
    ],
)
def test_another_model_is_refused_with_the_whole_report(
    folder: Path, build: Build, said: list[str]
) -> None:
    with pytest.raises(CheckpointError) as caught:
        fit(trainer(folder, build), resume="auto")

    for words in said:
        assert words in str(caught.value)
    assert "LoadWeights" in str(caught.value)


def test_a_callback_that_came_later_starts_anew_and_it_is_said(folder: Path) -> None:
    with pytest.warns(UserWarning, match="callback 'ema' starts fresh"):
        fit(trainer(folder, small, EMA(0.9)), epochs=3, resume="auto")


def test_a_callback_that_has_gone_is_told(tmp_path: Path) -> None:
    fit(trainer(tmp_path / "run", small, EMA(0.9)))

    with pytest.warns(UserWarning, match="a state of 'ema', and there is no such callback now"):
        fit(trainer(tmp_path / "run"), epochs=3, resume="auto")


def test_an_optimizer_that_does_not_fit_is_refused_by_name(folder: Path) -> None:
    def groups(parameters: Any) -> torch.optim.Optimizer:
        first, *others = parameters
        return torch.optim.SGD([{"params": [first]}, {"params": others}], lr=0.1)

    with pytest.raises(CheckpointError, match=r"the optimizer .* is not the one"):
        fit(trainer(folder, optimizer=groups), epochs=3, resume="auto")


def test_a_schedule_of_another_length_goes_on_as_it_was_and_it_is_said(tmp_path: Path) -> None:
    def made(steps: int) -> Trainer:
        scheduler = Scheduler(
            lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps), interval="step"
        )
        return trainer(tmp_path / "run", small, scheduler=scheduler)

    fit(made(2))
    with pytest.warns(UserWarning, match="T_max=2, as it was saved, not with T_max=4"):
        fit(made(4), epochs=4, resume="auto")


# --- an evaluation that fails --------------------------------------------------------------------


class Unlucky:
    """A metric that fails in its third evaluation, until it is mended."""

    def __init__(self, *, mended: bool) -> None:
        self.mended = mended
        self.called = 0

    def __call__(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.called += 1
        if self.called == 3 and not self.mended:
            raise ZeroDivisionError("nobody has thought of this")
        return (prediction - target).abs().mean()


def with_metric(folder: Path, *, mended: bool, save_on_failure: bool = True) -> Trainer:
    saves = Checkpoint(every="2 epochs", save_on_failure=save_on_failure)
    return trainer(folder, small, saves, metrics={"own": Unlucky(mended=mended)}, seed=1)


def rows(result: Any) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in result.history.rows()]


def test_the_steps_before_a_failing_evaluation_are_not_lost(tmp_path: Path) -> None:
    unbroken = fit(with_metric(tmp_path / "unbroken", mended=True), epochs=4)
    with pytest.raises(ZeroDivisionError, match="thought of this"):
        fit(with_metric(tmp_path / "run", mended=False), epochs=4)

    mended = with_metric(tmp_path / "run", mended=True)
    result = fit(mended, epochs=4, resume="auto")

    assert mended.callbacks["checkpoint"].last is not None
    assert (tmp_path / "run" / "checkpoints" / "step-0000000003").is_dir()
    assert rows(result) == rows(unbroken)


def test_where_it_is_not_wanted_nothing_is_saved_at_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fit(with_metric(tmp_path / "run", mended=False, save_on_failure=False), epochs=4)

    names = [path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")]
    assert names == ["step-0000000002"]


def test_an_error_while_saving_at_an_error_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, run: Any, *rest: Any) -> None:
        if run.progress.steps_completed == 3:
            raise CheckpointError("no room")

    monkeypatch.setattr(Checkpoint, "save", refuse)
    with pytest.raises(ZeroDivisionError) as caught:
        fit(with_metric(tmp_path / "run", mended=False), epochs=4)

    assert any("no room" in note for note in caught.value.__notes__)


class FailsAfterwards(Callback[Run]):
    """Fails once an evaluation has been recorded."""

    def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
        if run.progress.steps_completed == 3:
            raise ZeroDivisionError


def test_an_evaluation_that_was_recorded_already_is_saved_as_done(tmp_path: Path) -> None:
    unbroken = fit(trainer(tmp_path / "unbroken", seed=0), epochs=4)
    saves = Checkpoint("2 epochs")
    with pytest.raises(ZeroDivisionError):
        fit(trainer(tmp_path / "run", small, saves, FailsAfterwards(), seed=0), epochs=4)

    assert (tmp_path / "run" / "checkpoints" / "step-0000000003").is_dir()
    result = fit(trainer(tmp_path / "run"), epochs=4, resume="auto")
    assert rows(result) == rows(unbroken)


class Fails(Callback[Run]):
    """Ends the run where the last epoch ends, after its last checkpoint but one."""

    def on_train_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        if run.progress.steps_completed == 3:
            raise RuntimeError("ended")


@pytest.mark.parametrize("limit", [3, 2], ids=["the same limit", "a lower one"])
def test_steps_that_were_saved_before_they_were_recorded_are_recorded_after_a_resume(
    tmp_path: Path, limit: int
) -> None:
    every_step = [Checkpoint("1 steps", keep_last=9, background=False)]

    def losses(name: str, *callbacks: Any, steps: int = 3, **options: Any) -> list[float]:
        made = trainer(tmp_path / name, small, *every_step, *callbacks, seed=0)
        found = made.fit(DATA, steps=steps, batch_size=8, **options).history
        return [float(value) for value in found.values("train/loss")]

    whole = losses("whole")
    with pytest.raises(RuntimeError, match="ended"):
        losses("cut", Fails())

    assert losses("cut", resume="auto", steps=limit) == whole
    assert losses("cut", resume="auto", steps=limit) == whole
