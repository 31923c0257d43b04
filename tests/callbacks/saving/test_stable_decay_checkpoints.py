"""The checkpoints before and after the decay are exactly there, and stay whatever else is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trackside import Callback, Scheduler, Settings
from trackside.callbacks import Checkpoint, LRScheduler, StableDecayCheckpoints
from trackside.callbacks.scheduling.warmup_stable_decay import WarmupStableDecayLR
from trackside.checkpoint.manifest import read_manifest
from trackside.errors import ConfigurationError, ScheduleError, UsageError
from trackside.run import Run
from trackside.testing import tiny_regression

FOLDER = Path("run/checkpoints")


def kept() -> list[int]:
    """Steps with a checkpoint; the end of an epoch may have a second one."""
    return sorted({int(path.name.split("-")[1]) for path in FOLDER.glob("step-*")})


def reason(step: int) -> str:
    """Why the newest checkpoint of a step was saved."""
    folder = sorted(FOLDER.glob(f"step-{step:010d}*"))[-1]
    return read_manifest(folder)[0].reason


def fit(
    *callbacks: Callback,
    steps: int = 12,
    interval: Any = "step",
    phases: tuple[int, int, int] | None = (2, 3, 4),
    checkpoint: Checkpoint | None = None,
    **options: Any,
) -> Any:
    """Three steps an epoch; by default, the decay goes from step 5 to step 9."""
    task = tiny_regression()
    scheduler = None
    if phases is not None:
        scheduler = Scheduler(lambda o: WarmupStableDecayLR(o, *phases), interval=interval)
    saver = checkpoint or Checkpoint("1 step", keep_last=1)
    trainer = task.trainer(
        callbacks=[saver, *callbacks],
        scheduler=scheduler,
        settings=Settings(directory="run", device="cpu"),
    )
    return trainer.fit(task.train, steps=steps, **options)


def test_both_ends_of_the_decay_stay_although_one_only_is_kept() -> None:
    fit(StableDecayCheckpoints())

    assert kept() == [5, 9, 12]
    assert "before the decay of the learning rate (stable_decay_checkpoints)" in reason(5)
    assert "after the decay of the learning rate (stable_decay_checkpoints)" in reason(9)


def test_they_are_saved_by_a_checkpoint_that_saves_nothing_by_itself() -> None:
    fit(StableDecayCheckpoints(), checkpoint=Checkpoint(None, at_end=False))

    assert kept() == [5, 9]


def test_before_the_decay_every_update_had_the_full_rate() -> None:
    rates: list[float] = []

    class Rates(Callback):
        def on_optimizer_step_start(self, run: Run, optimizer: Any) -> None:
            rates.append(optimizer.param_groups[0]["lr"])

    fit(StableDecayCheckpoints(), Rates())

    assert rates[1:6] == [0.1] * 5  # the sixth update is the first after the checkpoint
    assert rates[6] < 0.1
    assert rates[9] == 0.0


def test_a_scheduler_that_moves_per_epoch_counts_epochs() -> None:
    fit(StableDecayCheckpoints(), interval="epoch", phases=(0, 1, 2))

    assert kept() == [3, 9, 12]


def test_a_scheduler_among_the_callbacks_is_found() -> None:
    options = {"warmup_steps": 2, "stable_steps": 3, "decay_steps": 4}
    scheduler = LRScheduler("warmup_stable_decay", options, interval="step")
    fit(StableDecayCheckpoints(), scheduler, phases=None)

    assert kept() == [5, 9, 12]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("4 steps", "7 steps", [4, 7, 12]),
        ("1 epoch", "3 epochs", [3, 9, 12]),
        ("20 samples", "30 samples", [6, 9, 12]),
        ("4 steps", None, [4, 12]),
    ],
)
def test_the_decay_can_be_said_in_any_unit(
    start: str, end: str | None, expected: list[int]
) -> None:
    fit(StableDecayCheckpoints(start, end), phases=None)

    assert kept() == expected


def test_a_run_that_ends_within_the_decay_keeps_its_end() -> None:
    fit(StableDecayCheckpoints(), steps=7)
    fit(steps=9, resume="auto")  # goes on without the callback, and keeps the last one only

    assert kept() == [5, 7, 9]
    assert "the end of training, within the decay" in reason(7)


def test_a_run_that_ends_before_the_decay_keeps_nothing_more() -> None:
    fit(StableDecayCheckpoints(), steps=4)

    assert kept() == [4]


@pytest.mark.parametrize("broken_after", [3, 5, 6, 9])
def test_a_resumed_run_keeps_the_same(broken_after: int) -> None:
    class Power(Callback):
        def on_step_start(self, run: Run) -> None:
            if run.progress.steps_completed == broken_after:
                raise RuntimeError("the power fails")

    with pytest.raises(RuntimeError, match="the power fails"):
        fit(StableDecayCheckpoints(), Power())
    fit(StableDecayCheckpoints(), resume="auto")

    assert kept() == [5, 9, 12]


def test_what_a_return_to_a_checkpoint_has_dropped_is_saved_when_it_comes_again() -> None:
    class Back(Callback):
        """At the very step at which the decay begins."""

        def on_step_end(self, run: Run) -> None:
            if run.progress.steps_completed == 5 and not run.rollbacks:
                run.roll_back("once more")

    # The checkpoint of step 4 is whole, and what the run goes back to; nobody else asks at step 5.
    saver = Checkpoint("4 steps", keep_last=1, background=False)
    fit(StableDecayCheckpoints(), Back(), checkpoint=saver)

    assert kept() == [5, 9, 12]


def test_a_run_that_saves_nothing_is_refused_before_its_first_step() -> None:
    task = tiny_regression()
    with pytest.raises(UsageError, match="nothing saves any"):
        task.trainer(callbacks=[StableDecayCheckpoints("1 step")]).fit(task.train, steps=2)


def test_a_run_without_such_a_schedule_is_refused_with_what_to_say() -> None:
    with pytest.raises(ConfigurationError, match="decay_start='8_500 steps'"):
        fit(StableDecayCheckpoints(), phases=None)


@pytest.mark.parametrize(
    "moments",
    [(None, "5 steps"), ("5 steps", "5 steps"), ("5 steps", "6 epochs"), ("10 minutes", None)],
)
def test_moments_that_make_no_decay_are_refused(moments: tuple[Any, Any]) -> None:
    with pytest.raises((ConfigurationError, ScheduleError)):
        StableDecayCheckpoints(*moments)
