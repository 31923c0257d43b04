"""`Checkpoint`: what is saved, who hears of it, and what a failing save costs."""

from __future__ import annotations

import errno
import logging
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from trackside import Callback, Result, Run, Settings, Trainer
from trackside.callbacks import BestCheckpoint, Checkpoint, SaveWeights, TerminateOnNonFinite
from trackside.checkpoint import (
    CheckpointWriter,
    Retention,
    Saving,
    host_buffers,
    open_checkpoint,
    snapshot,
    writer,
)
from trackside.checkpoint.errors import CheckpointWriteError
from trackside.checkpoint.files import DigestWriter
from trackside.errors import ConfigurationError, NonFiniteError
from trackside.outcome import Outcome, Status
from trackside.testing import tiny_regression

QUIET: dict[str, None] = dict.fromkeys(("progress", "table", "summary", "result", "data"))


def train(
    callbacks: dict[str, Any],
    model: Callable[[], nn.Module] = lambda: nn.Linear(4, 1),
    **options: Any,
) -> Result:
    inputs = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(inputs, inputs.sum(1, keepdim=True))
    trainer = Trainer(
        model,
        loss=nn.MSELoss(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01),
        callbacks={**QUIET, **callbacks},
        settings=Settings(directory="run", device="cpu"),
        seed=0,
    )
    return trainer.fit(data, data, **{"epochs": 2, "batch_size": 8, **options})


def saved(folder: str = "run/checkpoints") -> list[str]:
    return sorted(path.name for path in Path(folder).glob("step-*"))


# --- memory for the first ----------------------------------------------------------------------


def test_host_memory_for_the_first_save_is_got_after_the_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host_buffers, "WITH_PINNED_MEMORY", {"cpu"})
    pieces: list[int] = []

    def some(count: int) -> torch.Tensor:
        pieces.append(count)
        return torch.empty(count, dtype=torch.uint8)

    class Look(Callback):
        def on_step_end(self, run: Run) -> None:
            for thread in threading.enumerate():
                if thread.name == "memory for checkpoints":
                    thread.join()
            seen.append(len(pieces))

    seen: list[int] = []
    monkeypatch.setattr(host_buffers, "pinned_bytes", some)
    train({"saving": Checkpoint("8 steps"), "look": Look()})

    assert seen == [0, *[1] * 7]
    assert saved()
    assert len(pieces) == 1


def test_the_process_is_there_after_the_first_step_and_gone_after_a_failed_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saving = Checkpoint("8 steps", writer="process")
    pids: list[int] = []

    class Look(Callback):
        def on_step_end(self, run: Run) -> None:
            for thread in threading.enumerate():
                if thread.name == "memory for checkpoints":
                    thread.join()
            assert saving._writer is not None
            if (pid := saving._writer._process.pid) is not None:
                pids.append(pid)

        def on_fit_end(self, run: Run) -> None:
            resource.prlimit(pids[0], resource.RLIMIT_FSIZE, (10, 10))

    with pytest.raises(CheckpointWriteError, match="File too large"):
        train({"saving": saving, "look": Look()})

    assert len(pids) == 7
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


# --- what was never finite ---------------------------------------------------------------------


class WithMask(nn.Linear):
    """A causal mask, as many transformers have one."""

    def __init__(self) -> None:
        super().__init__(4, 1)
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))


class WithObserver(nn.Linear):
    """Extremes that begin infinite, as those of quantization-aware training."""

    def __init__(self) -> None:
        super().__init__(4, 1)
        self.register_buffer("lowest", torch.tensor(torch.inf))
        self.register_buffer("highest", torch.tensor(-torch.inf))


class WithFrozenMask(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 1)
        self.mask = nn.Parameter(torch.tensor([0.0, -torch.inf]), requires_grad=False)


@pytest.mark.parametrize("model", [WithMask, WithObserver, WithFrozenMask])
@pytest.mark.parametrize(
    ("name", "callback"),
    [
        ("checkpoint", Checkpoint),
        ("best", BestCheckpoint),
        ("weights", SaveWeights),
        ("finite", TerminateOnNonFinite),
    ],
)
def test_what_was_infinite_before_the_first_step_is_no_reason_to_refuse(
    own_folder: Path, model: type[nn.Module], name: str, callback: Callable[[], Any]
) -> None:
    result = train({"checkpoint": Checkpoint(), name: callback()}, model)

    assert result.outcome.status is Status.COMPLETED
    assert len(saved()) == 2
    assert name != "best" or Path("run/best/best.json").exists()


class Breaking(Callback):
    def __init__(self, name: str) -> None:
        self.broken = name

    def on_train_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        tensor = run.model.get_parameter(self.broken) if self.broken == "weight" else None
        with torch.no_grad():
            (tensor if tensor is not None else run.model.get_buffer(self.broken)).fill_(torch.nan)


@pytest.mark.parametrize(("model", "name"), [(WithMask, "weight"), (nn.Linear, "weight")])
def test_weights_that_have_become_nan_are_refused(
    own_folder: Path, model: type[nn.Module], name: str
) -> None:
    make = model if model is WithMask else lambda: nn.Linear(4, 1)
    with pytest.raises(NonFiniteError, match="'weight'"):
        train({"checkpoint": Checkpoint(), "breaking": Breaking(name)}, make)
    assert saved() == []


def test_a_buffer_that_was_finite_and_is_no_longer_is_refused(own_folder: Path) -> None:
    class WithMean(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 1)
            self.register_buffer("mean", torch.zeros(3))

    with pytest.raises(NonFiniteError, match="'mean'"):
        train({"checkpoint": Checkpoint(), "breaking": Breaking("mean")}, WithMean)


# --- policies ----------------------------------------------------------------------------------


def no_memory(*_: Any, **__: Any) -> Any:
    raise MemoryError("no more memory")


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("of some kind")


FAILURES = {
    "memory in the loop": (writer, "take_snapshot", no_memory),
    "memory in the thread": (writer, "commit", no_memory),
    "a bug in the loop": (snapshot, "split", broken),
    "a bug in the thread": (writer, "commit", broken),
    "a full disk": (DigestWriter, "write", full),
}


def warning_checkpoint(policy: str, **options: Any) -> Checkpoint:
    if policy == "on_save_error":
        return Checkpoint("2 steps", on_save_error="warn", **options)
    checkpoint = Checkpoint("2 steps", **options)
    checkpoint.on_error = "warn"
    return checkpoint


class Failing(Callback):
    """Lets saves fail from the first step to the end of the first epoch."""

    def __init__(self, where: tuple[Any, str, Any]) -> None:
        self.where = where
        self.patch = pytest.MonkeyPatch()

    def on_train_epoch_start(self, run: Run) -> None:
        if run.progress.epochs_completed == 0:
            self.patch.setattr(*self.where)

    def on_train_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        if run.saver is not None and run.progress.epochs_completed == 1:
            run.saver.finish_saves(run)
            self.patch.undo()

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self.patch.undo()


@pytest.mark.parametrize("policy", ["on_save_error", "on_error"])
@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("failure", FAILURES)
def test_warn_covers_every_error_of_a_save_and_the_next_one_is_made(
    own_folder: Path,
    caplog: pytest.LogCaptureFixture,
    failure: str,
    background: bool,
    policy: str,
) -> None:
    checkpoint = warning_checkpoint(policy, background=background)
    with caplog.at_level(logging.WARNING, logger="trackside"):
        result = train({"checkpoint": checkpoint, "failing": Failing(FAILURES[failure])})

    assert result.outcome.status is Status.COMPLETED
    assert "training goes on" in caplog.text
    assert saved() == ["step-0000000006", "step-0000000008-2"]


@pytest.mark.parametrize("failure", FAILURES)
def test_raise_ends_the_run_with_the_error_itself(own_folder: Path, failure: str) -> None:
    with pytest.raises((MemoryError, RuntimeError, CheckpointWriteError)):
        train(
            {
                "checkpoint": Checkpoint("2 steps"),
                "failing": Failing(FAILURES[failure]),
            }
        )


@pytest.mark.parametrize("policy", ["on_save_error", "on_error"])
def test_warn_covers_weights_that_are_not_finite(own_folder: Path, policy: str) -> None:
    checkpoint = warning_checkpoint(policy)
    result = train({"checkpoint": checkpoint, "breaking": Breaking("weight")}, epochs=1)
    assert result.outcome.status is Status.COMPLETED
    assert saved() == ["step-0000000002", "step-0000000004"]


def test_where_no_thread_can_be_started_a_save_is_made_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = CheckpointWriter(tmp_path, "run")

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    made.save({"step": 1}, Saving(step=1))

    [one] = made.poll()
    assert open_checkpoint(one.path).state() == {"step": 1}


# --- who hears of it ---------------------------------------------------------------------------


class Listening(Callback):
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.closed = False

    def on_checkpoint_saved(self, run: Run, checkpoint: Path) -> None:
        assert not self.closed
        self.heard.append(checkpoint.name)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self.closed = True


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("every", ["1 epoch", "3 steps", None])
def test_everybody_hears_of_every_checkpoint_before_anybody_is_closed(
    own_folder: Path, every: str | None, background: bool
) -> None:
    before, after = Listening(), Listening()
    checkpoint = Checkpoint(every, keep_last=None, background=background)

    train({"before": before, "checkpoint": checkpoint, "after": after})

    assert before.heard == after.heard == saved()


class FailingLate(Callback):
    def on_step_end(self, run: Run) -> None:
        if run.progress.steps_completed == 7:
            raise ValueError("in the middle")


def test_the_last_checkpoint_before_an_error_is_heard_of(own_folder: Path) -> None:
    after = Listening()
    with pytest.raises(ValueError, match="in the middle"):
        train({"checkpoint": Checkpoint("3 steps"), "after": after, "failing": FailingLate()})
    assert after.heard == ["step-0000000003", "step-0000000006", "step-0000000007"]
    assert saved() == after.heard[-2:]


def test_a_listener_that_fails_does_not_keep_the_next_checkpoint_from_the_others(
    own_folder: Path,
) -> None:
    class Broken(Callback):
        on_error = "warn"

        def on_checkpoint_saved(self, run: Run, checkpoint: Path) -> None:
            raise ValueError("upload failed")

    after = Listening()
    checkpoint = Checkpoint("4 steps", keep_last=None)
    train({"broken": Broken(), "checkpoint": checkpoint, "after": after})
    assert after.heard == saved()


def test_a_last_save_that_fails_is_the_error_of_the_run(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Callback):
        def on_fit_end(self, run: Run) -> None:
            monkeypatch.setattr(DigestWriter, "write", full)

    with pytest.raises(CheckpointWriteError, match="no space left"):
        train({"checkpoint": Checkpoint(None), "full": Full()})


# --- two at one step ---------------------------------------------------------------------------


def test_what_is_saved_later_at_a_step_takes_no_place_of_another_step(own_folder: Path) -> None:
    train({"checkpoint": Checkpoint("2 steps", keep_last=2)})
    assert saved() == ["step-0000000006", "step-0000000008-2"]


def test_weights_that_were_changed_for_the_end_have_no_metrics_of_others(own_folder: Path) -> None:
    class Changing(Callback):
        def on_fit_end(self, run: Run) -> None:
            with torch.no_grad():
                run.model.get_parameter("weight").add_(1.0)

    train({"changing": Changing(), "checkpoint": Checkpoint("1 epoch", keep_last=2)})

    first, second = (
        open_checkpoint(Path("run/checkpoints") / name)
        for name in ("step-0000000008", "step-0000000008-2")
    )
    assert "val/loss" in first.manifest.metrics
    assert "val/loss" not in second.manifest.metrics


def test_the_former_of_the_same_weights_is_not_counted_but_a_pinned_one_stays(
    tmp_path: Path,
) -> None:
    made = CheckpointWriter(tmp_path, "run", background=False, retention=Retention(keep_last=2))
    for step, again, pinned in ((1, False, False), (2, False, True), (2, True, False)):
        made.save({}, Saving(step=step, again=again, pinned=pinned))
    assert saved(str(tmp_path)) == ["step-0000000001", "step-0000000002", "step-0000000002-2"]


# --- which are the best ------------------------------------------------------------------------


class Values(Callback[Run]):
    """Records the next of its values after each third step."""

    logs = ("score",)

    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def on_measure(self, run: Run, values: dict[str, float]) -> None:
        if run.progress.steps_completed % 3 == 0 and self.values:
            values["score"] = self.values.pop(0)


@pytest.mark.parametrize(
    ("mode", "values", "steps"),
    [
        ("min", (3.0, 5.0, 2.0, 2.0), [9]),
        ("max", (3.0, 5.0, 2.0, 2.0), [6]),
        ("max", (3.0, float("inf"), float("nan"), 1.0), [3]),
    ],
)
def test_the_best_is_saved_where_its_value_is_recorded(
    mode: Any, values: tuple[float, ...], steps: list[int]
) -> None:
    checkpoint = Checkpoint("5 steps", keep_last=1, keep_best=1, monitor="score", mode=mode)
    callbacks = {"values": Values(*values), "checkpoint": checkpoint}
    result = fit_logging_each_step(callbacks, steps=14)
    assert saved() == [f"step-{step:010d}" for step in (*steps, 14)]
    best = result.history.best("score", mode)
    assert best is not None
    assert best.record.step == steps[0]


def fit_logging_each_step(callbacks: dict[str, Any], **options: Any) -> Result:
    inputs = torch.zeros(64, 1)
    return Trainer(
        lambda: nn.Linear(1, 1),
        loss=nn.MSELoss(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01),
        callbacks=callbacks,
        defaults=False,
        settings=Settings(directory="run", device="cpu", log_every="1 step"),
    ).fit(TensorDataset(inputs, inputs), batch_size=4, **options)


def test_the_best_of_an_epoch_is_saved_once_with_the_end_of_the_epoch() -> None:
    reasons: list[str] = []
    result = train(
        {"checkpoint": Checkpoint(keep_last=None, keep_best=2, monitor="val/loss")}, epochs=2
    )
    for name in saved():
        reasons.append(open_checkpoint(Path("run/checkpoints") / name).manifest.reason)
    assert result.outcome.status is Status.COMPLETED
    assert reasons == ["every 1 epoch (checkpoint)"] * 2


def test_a_callback_s_large_state_is_in_the_files_of_tensors(tmp_path: Path) -> None:
    class Averages(Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"average": torch.arange(100_000.0), "count": 3}

    task = tiny_regression()
    trainer = task.trainer(
        callbacks=[Averages(), Checkpoint("1 epoch")], settings=Settings(directory=tmp_path)
    )
    trainer.fit(task.train, epochs=1)

    [folder] = (tmp_path / "checkpoints").glob("step-*")
    sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
    assert sum(size for name, size in sizes.items() if name.endswith(".json")) < 50_000
    assert sum(size for name, size in sizes.items() if "safetensors" in name) > 400_000


# --- short epochs --------------------------------------------------------------------------------


class Clock(Callback):
    """Lets each epoch take so many seconds, by the clock that decides."""

    runs_before = ("checkpoint",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        run.progress.seconds = self.seconds * run.progress.epochs_closed

    def on_checkpoint_save(self, run: Run, state: dict[str, Any]) -> None:
        run.progress.seconds = self.seconds * run.progress.epochs_closed


@pytest.mark.parametrize(
    ("seconds", "steps"), [(1.0, [4, 20]), (15.0, [4, 12, 20]), (30.0, [4, 8, 12, 16, 20])]
)
def test_a_short_epoch_waits_until_the_last_checkpoint_is_old_enough(
    seconds: float, steps: list[int]
) -> None:
    checkpoint = Checkpoint(keep_last=None, min_seconds=30)
    train({"clock": Clock(seconds), "checkpoint": checkpoint}, epochs=5)
    assert [int(name.removeprefix("step-")) for name in saved()] == steps


def test_a_value_among_the_best_does_not_wait() -> None:
    best = Checkpoint(keep_last=None, min_seconds=30, keep_best=9, monitor="val/loss")
    train({"clock": Clock(1.0), "checkpoint": best}, epochs=5)
    assert [int(name.removeprefix("step-")) for name in saved()] == [4, 8, 12, 16, 20]


def test_only_the_default_one_waits() -> None:
    default = tiny_regression().trainer(defaults=True).callbacks.get("checkpoint")
    assert (default.min_seconds, Checkpoint().min_seconds) == (30, 0)


def test_an_age_below_zero_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="0 or more") as caught:
        Checkpoint(min_seconds=-1)
    assert caught.value.option == "min_seconds"
