from __future__ import annotations

import io

import pytest

from trackside import Settings
from trackside.callbacks import Checkpoint
from trackside.callbacks.reporting.trainer_summary import TrainerSummary
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.testing import ScriptedRun, script, tiny_regression


class Broken(Callback):
    on_error = "warn"

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        raise ValueError("no")


def test_the_end_of_a_run_is_told(plain: io.StringIO) -> None:
    script(TrainerSummary(), [{"val/loss": 0.5}, {"val/loss": 0.7}])

    start, first, best, took, files, callbacks = plain.getvalue().splitlines()
    assert start == "run: cpu · fp32 · ."
    assert first == "completed at step 8: the script is over"
    assert best.split(maxsplit=1) == [
        "best",
        "val/loss 0.5000 at step 4 (epoch 1), last 0.7000",
    ]
    assert "8 steps · 64 samples" in took
    assert files.split(maxsplit=1)[0] == "files"
    assert "trainer_summary" in callbacks


def test_a_failure_is_told_too(plain: io.StringIO) -> None:
    def story(run: ScriptedRun) -> None:
        run.tell_step()
        raise ValueError("out of luck")

    with pytest.raises(ValueError, match="out of luck"):
        script(TrainerSummary(), story)

    assert "failed at step 1: ValueError: out of luck" in plain.getvalue().splitlines()


@pytest.mark.filterwarnings("ignore")
def test_callbacks_that_failed_are_listed(plain: io.StringIO) -> None:
    script([TrainerSummary(), Broken()], [{}, {}])

    assert "  failed    broken, 2 times" in plain.getvalue().splitlines()


def test_an_evaluation_by_itself_has_no_summary(plain: io.StringIO) -> None:
    task = tiny_regression()

    task.trainer(callbacks=[TrainerSummary()]).evaluate(task.validation)

    assert plain.getvalue() == ""


def test_a_resumed_run_says_where_it_goes_on(plain: io.StringIO) -> None:
    task = tiny_regression()
    settings = Settings(directory="run", device="cpu")
    task.trainer(callbacks=[Checkpoint()], settings=settings).fit(task.train, steps=4)

    again = task.trainer(callbacks=[Checkpoint(), TrainerSummary()], settings=settings)
    again.fit(task.train, steps=5, resume="auto")

    first, second, *_ = plain.getvalue().splitlines()
    assert first == "run: cpu · fp32 · run"
    assert second.startswith("resumed at step 4, after 1 whole epochs, from run/checkpoints/")
