from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.config import parts
from tests.config.files import good, write
from trackside.cli.main import run as command
from trackside.config import Finished, load
from trackside.config.experiment.inbox import Command, Reply, ask, read_answer, read_command
from trackside.errors import UsageError
from trackside.outcome import Status

MORE = """\
metrics: {accuracy: accuracy}
callbacks:
  checkpoint: {every: 1000 steps, at_end: false}
  es: {kind: early_stopping, monitor: val/loss, patience: 50}
"""


def steered(*words: str, at_epoch: int = 1, epochs: int = 3) -> tuple[Finished, Reply]:
    """A run of whose folder something is asked in the middle of an epoch."""
    options = f"words: {json.dumps(words)}, at: {at_epoch}"
    asks = f"  asks: {{kind: tests.config.parts.Asks, {options}}}\n"
    test_set = ("  val: {", "  test: {kind: tests.config.parts.points}\n  val: {")
    write(good(test_set, ("epochs: 1", f"epochs: {epochs}"), more=MORE + asks))
    finished = load("run.yaml").run()
    asker = finished.trainer.callbacks["asks"]
    assert isinstance(asker, parts.Asks)
    assert asker.answer is not None
    answer = read_answer(asker.answer)
    assert answer is not None
    return finished, answer


def test_a_run_stops_with_the_reason_that_was_given() -> None:
    finished, answer = steered("stop", "good", "enough")
    outcome = finished.result.outcome
    assert (outcome.status, outcome.reason) == (Status.STOPPED, "good enough")
    assert outcome.asked_by == "steering"
    assert outcome.step == 2
    assert answer == Reply(Command("stop", "good enough"), True, "requested", 2)


def test_a_run_saves_when_asked() -> None:
    steered("save")
    assert [path.name for path in Path("run/checkpoints").glob("step-*")] == ["step-0000000002"]


def test_a_run_evaluates_when_asked() -> None:
    finished, answer = steered("evaluate", "test")
    assert answer.accepted
    assert [step for step, _ in finished.result.history.points("test/loss")] == [2]


def test_an_epoch_that_has_ended_already_is_not_ended() -> None:
    finished, answer = steered("end_epoch", "enough of it")
    assert (answer.accepted, answer.words) == (False, "the epoch has ended already")
    assert finished.result.ended_epochs == ()


def test_an_epoch_ends_when_asked() -> None:
    write(good(("epochs: 1", "epochs: 2"), more=MORE))
    experiment = load("run.yaml")
    trainer = experiment.trainer("run")
    trainer.callbacks.append(parts.AsksInStep(["end_epoch", "enough of it"], 1))
    result = trainer.fit(**experiment.fit_arguments(experiment.make_data()))

    ((epoch, step, reason, who),) = [
        (one.epoch, one.step, one.reason, one.asked_by) for one in result.ended_epochs
    ]
    assert (epoch, step, reason, who) == (0, 1, "enough of it", "steering")
    assert result.outcome.step == 3


def test_an_option_of_a_callback_changes_and_its_state_stays() -> None:
    finished, answer = steered("set", "es.patience=70")
    assert answer.words == "done"
    stopping = finished.trainer.callbacks["es"]
    assert stopping.patience == 70
    assert stopping.state_dict()["patience"], "the state of the old one"
    assert finished.result.history.values("set/es.patience") == [70.0]


def test_patience_that_is_lowered_ends_the_run() -> None:
    finished, _ = steered("set", "es.patience=1", epochs=40)
    assert finished.result.outcome.status in (Status.STOPPED, Status.COMPLETED)
    assert finished.trainer.callbacks["es"].patience == 1


def test_the_learning_rate_changes() -> None:
    finished, answer = steered("set", "optimizer.lr=0.5")
    assert answer.accepted
    assert finished.result.history.values("set/optimizer.lr") == [0.5]


def test_some_steps_are_profiled() -> None:
    _, answer = steered("profile", "1")
    assert answer.accepted
    assert list(Path("run/profile").glob("step-*.json"))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("evaluate", "tset"), "there is no data named 'tset'"),
        (("set", "ess.patience=1"), "there is no callback or optimizer named 'ess'"),
        (("set", "es.patiense=1"), "did you mean `patience`?"),
        (("set", "es.patience=x"), "expected: a whole number"),
        (("set", "es.patience=0"), "refuses its options"),
        (("set", "optimizer.lrr=1"), "did you mean `lr`?"),
        (("set", "optimizer.lr=fast"), "can't be 'fast'"),
        (("set", "checkpoint.keep_last=1"), "can't be changed while the run goes on"),
        (("set", "steering.clock=1"), "can't be changed while the run goes on"),
    ],
)
def test_what_can_not_be_done_is_refused_and_the_run_goes_on(
    words: tuple[str, ...], why: str
) -> None:
    finished, answer = steered(*words)
    assert not answer.accepted
    assert why in answer.words
    assert finished.result.outcome.status is Status.COMPLETED
    assert finished.result.failed_callbacks == {}


def test_what_was_asked_of_an_earlier_run_is_not_done() -> None:
    Path("run").mkdir()
    path = ask("run", Command("stop"))
    write(good())
    assert load("run.yaml").run().result.outcome.status is Status.COMPLETED
    answer = read_answer(path)
    assert answer is not None
    assert not answer.accepted


def test_a_stray_file_among_the_commands_ends_nothing() -> None:
    finished, _ = steered("save")
    Path("run/asked/stray.json").write_text("{")
    assert load("run.yaml").run().result.failed_callbacks == {}
    assert finished.result.outcome.status is Status.COMPLETED


@pytest.mark.parametrize(
    "words", [[], ["stpo"], ["evaluate"], ["profile", "x"], ["profile", "0"], ["set", "a=1"]]
)
def test_a_command_that_is_not_whole_is_refused_at_once(words: list[str]) -> None:
    with pytest.raises(UsageError):
        read_command(words)


# --- the command -------------------------------------------------------------------------------


def test_the_command_leaves_the_command_and_does_not_wait_for_ever(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("run").mkdir()
    assert command(["ask", "run", "save", "--wait", "0"]) == 0
    assert "no answer yet" in capsys.readouterr().out
    (left,) = Path("run/asked").glob("*.json")
    assert json.loads(left.read_text()) == {"kind": "save", "value": ""}


@pytest.mark.parametrize("arguments", [["nowhere", "save"], ["run", "stpo"]])
def test_the_command_refuses_what_makes_no_sense(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run").mkdir()
    assert command(["ask", *arguments, "--wait", "0"]) == 2


def test_a_run_that_has_ended_is_not_asked(capsys: pytest.CaptureFixture[str]) -> None:
    write(good())
    load("run.yaml").run()
    assert command(["ask", "run", "save", "--wait", "0"]) == 2
    assert "has ended" in capsys.readouterr().err
