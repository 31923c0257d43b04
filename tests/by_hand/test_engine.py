"""The engine refuses what a loop by hand leaves out, instead of guessing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.by_hand.loops import parts
from trackside import Callback, Status, UsageError
from trackside.callbacks import Checkpoint, EarlyStopping


def test_a_batch_of_which_nothing_is_told_is_refused_at_the_next() -> None:
    made = parts()

    with pytest.raises(UsageError, match="not reported"), made.attach() as run:
        for _ in run.epochs(1):
            for batch in run.batches():
                made.loss_of(batch).backward()


def test_a_pass_that_ends_within_a_step_is_refused() -> None:
    made = parts()

    with pytest.raises(UsageError, match="within a step"), made.attach() as run:
        for _ in run.epochs(1):
            for batch in run.batches():
                run.batch_done(made.loss_of(batch))


def test_a_step_without_a_batch_is_refused() -> None:
    with pytest.raises(UsageError, match="none was begun"), parts().attach() as run:
        for _ in run.epochs(1):
            run.step_done()


def test_an_epoch_without_its_batches_is_refused() -> None:
    with pytest.raises(UsageError, match="left without a batch"), parts().attach() as run:
        for _ in run.epochs(2):
            pass


def test_a_second_pass_in_one_epoch_is_refused() -> None:
    made = parts()

    with pytest.raises(UsageError, match="passed over once"), made.attach() as run:
        for _ in run.epochs(1):
            run.batches()
            run.batches()


def test_a_batch_that_the_loop_leaves_out_counts_and_has_no_part_in_the_mean() -> None:
    made = parts()

    with made.attach() as run:
        for _ in run.epochs(1):
            for number, batch in enumerate(run.batches()):
                if number == 0:
                    run.batch_done(None)
                    continue
                run.step_done(made.loss_of(batch) * 0 + 2)

    assert run.progress.batches_completed == 6
    assert run.history.latest("train/loss") == 2


def test_a_loop_that_is_left_within_a_step_leaves_the_contexts_of_the_step() -> None:
    made, left = parts(), []

    class Within(Callback[Any]):
        @contextmanager
        def step_context(self, run: Any) -> Iterator[None]:
            yield
            left.append(run.outcome)

    with made.attach(Within()) as run:
        for _ in run.epochs(1):
            for _ in run.batches():
                break
            break

    assert left == [None]


def test_a_value_that_is_watched_and_never_recorded_is_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = parts()

    with (
        caplog.at_level(logging.WARNING, "trackside"),
        made.attach(EarlyStopping("val/loss")) as run,
    ):
        for _ in run.epochs(1):
            for batch in run.batches():
                run.step_done(made.loss_of(batch))

    assert "val/loss" in caplog.text


def test_a_limit_of_steps_ends_the_loop_inside_an_epoch() -> None:
    made = parts()

    with made.attach(Checkpoint()) as run:
        for _ in run.epochs(steps=8):
            for batch in run.batches():
                run.step_done(made.loss_of(batch))

    assert str(run.outcome) == "completed at step 8: reached steps=8"
    assert run.progress.epochs_completed == 1


def test_a_run_that_has_reached_its_limit_gives_no_epoch() -> None:
    made = parts()
    for _ in range(2):
        with made.attach(Checkpoint(), resume="auto") as run:
            for _ in run.epochs(steps=8):
                for batch in run.batches():
                    run.step_done(made.loss_of(batch))

    assert run.outcome is not None
    assert run.outcome.status is Status.COMPLETED
    assert run.progress.steps_completed == 8
