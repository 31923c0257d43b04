from __future__ import annotations

from trackside.callbacks.reporting.status_line import Pace, Standing, bar, fraction, standing, words
from trackside.run import Evaluation
from trackside.testing import ScriptedRun


def test_all_that_is_known_stands_in_the_line() -> None:
    at = Standing(120, 1800, 3, 20, 3840, 0.4321)

    assert words(at, 12345.0, 42.0) == (
        "epoch 3/20 · step 120/1,800 · loss 0.4321 · 12,345 samples/s · 42 s left"
    )


def test_what_is_not_known_is_left_out() -> None:
    assert words(Standing(steps=7, epoch=1)) == "epoch 1 · step 7"


def test_an_evaluation_is_shown_beside_the_training() -> None:
    run = ScriptedRun([], epochs=2)
    run.evaluation = Evaluation("val", batches=13, batches_completed=12)

    assert words(standing(run)) == "epoch 1/2 · step 0/8 · val 12/13"


def test_the_last_epoch_is_not_counted_beyond_the_limit() -> None:
    run = ScriptedRun([], epochs=2)
    run.progress.epochs_completed = 2

    assert standing(run).epoch == 2


def test_the_time_left_is_known_from_the_average_since_the_start() -> None:
    pace = Pace()
    pace.read(100.0, Standing(steps=50, total_steps=100, samples=0))

    speed, left = pace.read(104.0, Standing(steps=60, total_steps=100, samples=80))

    assert (speed, left) == (20.0, 16.0)


def test_before_the_first_step_nothing_is_said_of_speed() -> None:
    pace = Pace()
    pace.read(0.0, Standing(total_steps=10))

    assert pace.read(1.0, Standing(total_steps=10)) == (None, None)


def test_the_bar_is_as_full_as_the_run_is_done() -> None:
    assert bar(fraction(Standing(steps=3, total_steps=4)), 8) == ("━━━━━━", "──")
    assert bar(fraction(Standing(steps=3)), 8) == ("", "")


def test_an_evaluation_by_itself_fills_the_bar() -> None:
    assert fraction(Standing(fitting=False, batches=1, total_batches=4)) == 0.25
