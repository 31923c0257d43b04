from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.config import parts
from tests.config.files import good, write
from trackside.cli.main import run
from trackside.config import ExperimentError, load
from trackside.config.experiment.rehearsal import Rehearsal, RehearsalError, rehearse
from trackside.machine import randomness

MORE = """\
evaluate: [val]
callbacks:
  checkpoint: {every: 1000 steps}
  seen: {kind: tests.config.parts.Seen, every: 1000 steps}
"""
BIG = ("{kind: tests.config.parts.points}", "{kind: tests.config.parts.points, count: 400}")


def rehearsed(*changes: tuple[str, str], more: str = MORE) -> Rehearsal:
    write(good(BIG, *changes, more=more))
    return rehearse(load("run.yaml"))


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    parts.Seen.events.clear()


def test_every_part_of_a_run_is_gone_through() -> None:
    assert rehearsed().parts == (
        "train, evaluate, save and close",
        "resume",
        "evaluate at the end",
        "fail and clean up",
    )
    events = parts.Seen.events
    assert {"due", "saved", "loaded", "epoch", "evaluation", "closed", "exception"} <= set(events)
    assert events.count("attached") == events.count("closed")


def test_a_rehearsal_takes_two_batches_of_each_data_set() -> None:
    rehearsed()
    assert parts.Seen.events.count("batch") <= 2 * 2 + 2 + 1  # two epochs, the third, the failing


def test_nothing_is_left_of_a_rehearsal() -> None:
    before = randomness.capture()
    mode = os.environ.get("WANDB_MODE")
    rehearsed()
    assert sorted(path.name for path in Path().iterdir()) == ["run.yaml"]
    assert torch.equal(randomness.capture()["torch"], before["torch"])
    assert os.environ.get("WANDB_MODE") == mode


def test_a_rehearsal_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    rehearsed(("  defaults: false\n", ""))
    assert capsys.readouterr() == ("", "")


def test_the_run_after_a_rehearsal_is_bitwise_the_run_without() -> None:
    write(good(("model: {kind: tests.config.parts.Net}", DROPOUT), ("seed: 1\n", "")))
    ended = []
    for rehearse_first in (False, True):
        torch.manual_seed(5)
        experiment = load("run.yaml")
        if rehearse_first:
            rehearse(experiment)
        ended.append(experiment.run().result.history.values("val/loss"))
    assert ended[0] == ended[1]


DROPOUT = "model: {kind: tests.config.parts.Net, dropout: 0.5}"


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("on_checkpoint_save", "when it had to train, evaluate, save and close"),
        ("on_checkpoint_load", "when it had to resume"),
        ("on_epoch_end", "when it had to train, evaluate, save and close"),
        ("on_evaluation_end", "when it had to train, evaluate, save and close"),
        ("on_exception", "when it had to fail and clean up"),
    ],
)
def test_what_would_fail_late_fails_in_the_rehearsal(where: str, words: str) -> None:
    more = MORE + f"  bad: {{kind: tests.config.parts.FailsIn, hook: {where}}}\n"
    with pytest.raises(RehearsalError, match=words):
        rehearsed(more=more)


def test_a_callback_that_only_warns_is_named() -> None:
    bad = "  bad: {kind: tests.config.parts.FailsIn, hook: on_epoch_end, on_error: warn}\n"
    assert rehearsed(more=MORE + bad).failed == ("bad",)


def test_a_mistake_in_the_file_is_told_with_its_place() -> None:
    more = "callbacks: {es: {kind: early_stopping, monitor: val/los}}\n"
    with pytest.raises(ExperimentError, match=r"run.yaml:13:\d+: callbacks.es.monitor"):
        rehearsed(more=more)


def test_nobody_is_notified_of_a_rehearsal() -> None:
    more = "callbacks: {notify: {command: [touch, told]}}\n"
    assert rehearsed(more=more).left_out == ("notify",)
    assert not Path("told").exists()


def test_the_command_rehearses_and_then_trains(capsys: pytest.CaptureFixture[str]) -> None:
    write(good(more="evaluate: [val]\n"))
    assert run(["train", "run.yaml", "--rehearse"]) == 0
    told = capsys.readouterr()
    assert told.err.startswith("rehearsed in ")
    assert told.out.startswith("completed at step 2")


def test_a_failed_rehearsal_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    write(good(more="callbacks: {bad: {kind: tests.config.parts.FailsIn, hook: on_epoch_end}}\n"))
    assert run(["train", "run.yaml", "--rehearse"]) == 1
    told = capsys.readouterr().err
    assert "the rehearsal failed" in told
    assert "in callback 'bad', hook `on_epoch_end`" in told
    assert not Path("run").exists()
