from __future__ import annotations

import io
import logging
import re
import sys
import threading

import pytest

from trackside.callbacks.reporting.progress_bar import ProgressBar
from trackside.errors import ConfigurationError
from trackside.testing import ScriptedRun, script, tiny_regression

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


def test_a_terminal_shows_the_last_standing_at_the_end(tty: io.StringIO) -> None:
    script(ProgressBar(), [{"train/loss": 0.5}] * 2, epochs=2)

    assert "epoch 2/2 · step 8/8 · loss 0.5000" in tty.getvalue()


def test_what_the_program_prints_appears_above_the_bar(
    tty: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def story(run: ScriptedRun) -> None:
        run.tell_step()
        print("said by the program")

    script(ProgressBar(), story, steps=4)

    shown = tty.getvalue()
    assert shown.index("said by the program") < shown.rindex("step 1/4")


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_however_the_run_ends_the_terminal_is_as_before(
    tty: io.StringIO, error: BaseException
) -> None:
    before = (sys.stdout, sys.stderr, threading.active_count())

    def story(run: ScriptedRun) -> None:
        run.tell_step()
        raise error

    with pytest.raises(type(error)):
        script(ProgressBar(), story)

    assert (sys.stdout, sys.stderr, threading.active_count()) == before
    assert tty.getvalue().rindex(SHOW_CURSOR) > tty.getvalue().rindex(HIDE_CURSOR)


def test_a_short_run_without_a_terminal_prints_no_line(plain: io.StringIO) -> None:
    script(ProgressBar(), [{}])

    assert plain.getvalue() == ""


def test_without_a_terminal_a_plain_line_comes_at_each_interval(plain: io.StringIO) -> None:
    def story(run: ScriptedRun) -> None:
        run.tell_step({"loss": 0.25})
        while not told.search(plain.getvalue()):  # a line may come before the loss does
            threading.Event().wait(0.001)

    # Where a line came before the step was told, the later ones have a rate and the time left.
    told = re.compile(r"^epoch 1 · step 1/4 · loss 0\.2500 · (.* left · )?25%$", re.MULTILINE)
    script(ProgressBar(plain_every_seconds=0.001), story, steps=4)

    assert told.search(plain.getvalue())


def test_nothing_is_printed_after_the_end(plain: io.StringIO) -> None:
    before = threading.active_count()

    script(ProgressBar(plain_every_seconds=0.001), [{}])

    assert threading.active_count() == before


def test_a_forced_colour_in_a_file_draws_no_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import rich
    from rich.console import Console

    monkeypatch.setattr(rich, "_console", Console(force_terminal=True))

    script(ProgressBar(), [{}])

    assert capsys.readouterr().out == ""


def test_no_hook_of_a_step_is_listened_to() -> None:
    run = ScriptedRun(ProgressBar())

    listened = set(run.callbacks.table())

    assert {hook for hook in listened if "step" in hook or "batch" in hook} == {
        "on_predict_batch_end"
    }


def test_an_evaluation_by_itself_has_a_bar(tty: io.StringIO) -> None:
    task = tiny_regression()
    trainer = task.trainer(callbacks=[ProgressBar(refresh_per_second=1000)])

    trainer.evaluate(task.validation)

    assert HIDE_CURSOR in tty.getvalue()


def test_a_prediction_counts_its_batches(tty: io.StringIO) -> None:
    task = tiny_regression()
    bar = ProgressBar()

    task.trainer(callbacks=[bar]).predict(task.validation)

    assert "predict 2/2" in tty.getvalue()


def test_a_second_fit_has_a_bar_of_its_own(tty: io.StringIO) -> None:
    bar = ProgressBar()
    script(bar, [{}], epochs=1)
    script(bar, [{}], epochs=1)

    assert tty.getvalue().count(SHOW_CURSOR) == 2


def test_a_bar_that_fails_does_not_end_the_training(
    tty: io.StringIO, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tty, "write", _raise)

    with caplog.at_level(logging.CRITICAL):
        run = script(ProgressBar(), [{}])

    assert run.outcome is not None
    assert run.outcome.status == "completed"


def _raise(text: str) -> int:
    raise OSError("the terminal is gone")


@pytest.mark.parametrize("option", ["refresh_per_second", "plain_every_seconds"])
def test_an_interval_that_is_not_positive_is_refused(option: str) -> None:
    with pytest.raises(ConfigurationError, match="positive"):
        ProgressBar(**{option: 0.0})
