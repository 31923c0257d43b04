"""Whatever ends a run, all are closed once, in reverse order, and the first error comes out."""

from __future__ import annotations

import signal
import threading
import traceback
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plans import KINDS
from trackside import Callback, Run, StopTraining
from trackside.errors import ConfigurationError, Interrupted, Terminated, TracksideError
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.lifetime import outcome_of
from trackside.lifecycle.signals import StopOnSignals, late_interrupt, signal_numbers
from trackside.outcome import Outcome, Status
from trackside.testing import Recorder, ScriptedRun, SpyCallback


class Closing(Callback[Run]):
    """Notes that it is closed, and raises `error` then."""

    def __init__(self, name: str, closed: list[str], error: BaseException | None = None) -> None:
        self.name = name
        self.closed = closed
        self.error = error

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self.closed.append(str(self.name))
        if self.error is not None:
            raise self.error


def raising(error: BaseException) -> Any:
    def story(run: ScriptedRun) -> None:
        run.tell_step()
        raise error

    return story


# --- closing -----------------------------------------------------------------------------------


@settings(max_examples=50)
@given(
    errors=st.lists(st.none() | st.sampled_from(KINDS), min_size=1, max_size=5),
    first=st.none() | st.sampled_from(KINDS),
)
def test_everybody_is_closed_in_reverse_order_whoever_fails_while_closing(
    errors: list[type[BaseException] | None], first: type[BaseException] | None
) -> None:
    closed: list[str] = []
    made = [kind(f"closing {n}") if kind else None for n, kind in enumerate(errors)]
    failing = [error for error in made if error is not None]
    callbacks = [Closing(f"c{n}", closed, error) for n, error in enumerate(made)]
    run = ScriptedRun(callbacks)
    names = [callback.name for callback in callbacks]

    if first is not None:
        error = first("the first")
        with pytest.raises(first) as caught:
            run.play(raising(error))
        assert caught.value is error
        notes = "\n".join(getattr(error, "__notes__", []))
        assert all(f"{other}" in notes for other in failing)
        assert notes.count("while closing, another error came up") == len(failing)
    elif failing:
        with pytest.raises(BaseExceptionGroup) as group:
            run.play([{}])
        assert list(group.value.exceptions) == failing[::-1]
    else:
        run.play([{}])
    assert closed == names[::-1]


def test_an_error_while_closing_leaves_the_outcome_of_the_run() -> None:
    run = ScriptedRun([Closing("a", [], OSError("no space left"))])

    with pytest.raises(ExceptionGroup, match="callbacks failed while closing"):
        run.play([{}])
    assert run.outcome is not None
    assert run.outcome.status is Status.COMPLETED


def test_the_traceback_of_an_error_while_closing_is_in_the_note() -> None:
    run = ScriptedRun([Closing("a", [], OSError("no space left"))])

    with pytest.raises(ValueError, match="first") as caught:
        run.play(raising(ValueError("first")))
    note = caught.value.__notes__[-1]
    assert "raise self.error" in note
    assert "OSError: no space left" in note
    assert "in callback 'a', hook `on_close`" in note


def test_an_error_in_on_exception_is_a_note_and_the_others_still_see_the_first() -> None:
    seen: list[BaseException] = []
    spies = [
        SpyCallback("on_exception", OSError("second"), counts=()),
        SpyCallback("on_exception", lambda run, error: seen.append(error), counts=()),
    ]
    spies[1].name = "other"
    first = ValueError("first")

    with pytest.raises(ValueError, match="first") as caught:
        ScriptedRun(spies).play(raising(first))
    assert seen == [first]
    assert "while handling it, another error came up" in caught.value.__notes__[0]


def test_raising_the_same_error_again_adds_no_note_of_itself() -> None:
    def again(run: Run, error: BaseException) -> None:
        raise error

    with pytest.raises(ValueError, match="first") as caught:
        ScriptedRun(SpyCallback("on_exception", again, counts=())).play(
            raising(ValueError("first"))
        )
    assert not any("another error" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("hook", ["on_close", "on_exception"])
def test_a_stop_asked_for_at_the_end_changes_nothing(hook: str) -> None:
    closed: list[str] = []
    spy = SpyCallback(hook, StopTraining, counts=())
    run = ScriptedRun([Closing("a", closed), spy, Closing("z", closed)])

    with pytest.raises(ValueError, match="first"):
        run.play(raising(ValueError("first")))
    assert closed == ["z", "a"]
    assert run.outcome is not None
    assert run.outcome.status is Status.FAILED


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_error_while_attaching_closes_those_who_have_attached(number: int) -> None:
    closed: list[str] = []
    callbacks: list[Callback[Any]] = [Closing(f"c{n}", closed) for n in range(3)]
    recorder = Recorder()
    callbacks.insert(number, SpyCallback("on_attach", ValueError, counts=()))

    with pytest.raises(ValueError):
        ScriptedRun([*callbacks, recorder]).play([{}])
    assert closed == [f"c{n}" for n in range(number)][::-1]
    assert recorder.events == [], "who has not joined hears nothing, not even of the error"


def test_the_note_names_callback_hook_and_step() -> None:
    spy = SpyCallback("on_step_end", ValueError("x"), when=3)
    spy.name = "logger"
    with pytest.raises(ValueError) as caught:
        ScriptedRun(spy).play([{}])

    assert caught.value.__notes__ == [
        "in callback 'logger', hook `on_step_end`, after 3 completed steps"
    ]


def test_the_traceback_reaches_from_the_caller_to_the_line_that_raised() -> None:
    with pytest.raises(ValueError) as caught:
        ScriptedRun(SpyCallback("on_step_start", ValueError("x"))).play([{}])

    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[0] == "test_the_traceback_reaches_from_the_caller_to_the_line_that_raised"
    assert frames[-1] == "heard"
    assert {"play", "live", "body", "train_step", "fire", "_fire"} <= set(frames)


def test_the_traceback_of_an_error_that_waited_reaches_from_the_caller_to_the_line_too() -> None:
    with pytest.raises(ValueError) as caught:
        ScriptedRun(SpyCallback("on_step_end", ValueError("x"))).play([{}])

    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert (
        frames[0]
        == "test_the_traceback_of_an_error_that_waited_reaches_from_the_caller_to_the_line_too"
    )
    assert frames[-1] == "heard"
    assert {"play", "live", "body", "safe_point"} <= set(frames)


# --- outcome -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "reason", "exit_code"),
    [
        (ValueError("bad"), Status.FAILED, "ValueError: bad", 1),
        (ValueError("two\nlines"), Status.FAILED, "ValueError: two", 1),
        (ValueError(), Status.FAILED, "ValueError", 1),
        (StopIteration(), Status.FAILED, "StopIteration", 1),
        (SystemExit(3), Status.FAILED, "SystemExit: 3", 3),
        (SystemExit("words"), Status.FAILED, "SystemExit: words", 1),
        (ValueError("\x1b[31mred"), Status.FAILED, "ValueError: \\x1b[31mred", 1),
        (TracksideError("a", expected="b"), Status.FAILED, "TracksideError: a", 1),
        (KeyboardInterrupt(), Status.INTERRUPTED, "Ctrl-C", 130),
        (Interrupted(signal.SIGINT, "Ctrl-C"), Status.INTERRUPTED, "Ctrl-C", 130),
        (Terminated(signal.SIGTERM, "SIGTERM"), Status.INTERRUPTED, "SIGTERM", 143),
        (Terminated(signal.SIGHUP, "SIGHUP"), Status.INTERRUPTED, "SIGHUP", 129),
    ],
)
def test_the_outcome_of_an_error(
    error: BaseException, status: Status, reason: str, exit_code: int
) -> None:
    outcome = outcome_of(error, 7)

    assert (outcome.status, outcome.reason, outcome.exit_code) == (status, reason, exit_code)
    assert (outcome.step, outcome.error) == (7, error)


# --- signals, within this process --------------------------------------------------------------


def send(*numbers: int) -> Any:
    def story(run: ScriptedRun) -> None:
        run.tell_step()
        for number in numbers:
            signal.raise_signal(number)
        run.tell_step()
        run.tell_step()

    return story


@pytest.mark.parametrize(
    ("number", "word", "exit_code"),
    [(signal.SIGINT, "Ctrl-C", 130), (signal.SIGTERM, "SIGTERM", 143)],
)
def test_the_first_signal_stops_at_the_next_safe_point(
    number: int, word: str, exit_code: int
) -> None:
    run = ScriptedRun(Recorder())
    outcome = run.play(send(number))

    assert (outcome.status, outcome.reason, outcome.asked_by) == (
        Status.INTERRUPTED,
        word,
        "signal",
    )
    assert (outcome.step, outcome.exit_code) == (2, exit_code)
    assert [request.reason for request in run.saves] == [word], "a checkpoint is asked for"


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_further_sigint_ends_at_once_and_still_closes(first: int) -> None:
    closed: list[str] = []
    run = ScriptedRun([Closing("a", closed), Closing("b", closed)])

    with pytest.raises(KeyboardInterrupt):
        run.play(send(first, signal.SIGINT))
    assert closed == ["b", "a"]
    assert run.progress.steps_completed == 1
    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.exit_code) == (Status.INTERRUPTED, 130)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_within_the_grace_only_repeats_the_request(first: int, again: int) -> None:
    run = ScriptedRun(Recorder())
    outcome = run.play(send(first, again, again))

    assert (outcome.status, outcome.step) == (Status.INTERRUPTED, 2)
    assert outcome.exit_code == 128 + first
    assert len(run.saves) == 1


@pytest.mark.parametrize(("seconds", "ends"), [(4.9, False), (5.0, True), (60.0, True)])
def test_sigterm_after_the_grace_ends_at_once(seconds: float, ends: bool) -> None:
    run, now = ScriptedRun(Recorder()), [100.0]
    events = Dispatcher(run)

    with StopOnSignals(run, events, grace_seconds=5.0, clock=lambda: now[0]):
        signal.raise_signal(signal.SIGTERM)
        now[0] += seconds
        with pytest.raises(SystemExit) if ends else nullcontext():
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU])
def test_more_signals_ask_for_the_end_by_choice(number: signal.Signals) -> None:
    run = ScriptedRun(Recorder())
    former = signal.getsignal(number)

    with StopOnSignals(run, Dispatcher(run), signal_numbers([number.name])):
        signal.raise_signal(number)

    assert [request.signal for request in run.requests if request.kind == "stop"] == [number]
    assert signal.getsignal(number) is former


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP", "SIGCHLD", "SIGNONE", "USR1", ""])
def test_a_signal_that_cannot_ask_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="SIGUSR1"):
        signal_numbers([name])


def test_a_hangup_that_the_process_ignores_stays_ignored() -> None:
    run = ScriptedRun(Recorder())
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopOnSignals(run, Dispatcher(run)) as signals:
            signal.raise_signal(signal.SIGHUP)
        assert signals.number is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


def test_a_ctrl_c_that_comes_late_has_the_exit_code_of_one_in_time() -> None:
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for number, kept in (
            (signal.SIGTERM, late_interrupt),
            (None, signal.default_int_handler),  # a run that no signal ended leaves no trace
        ):
            run = ScriptedRun(Recorder())
            with StopOnSignals(run, Dispatcher(run)):
                if number is not None:
                    signal.raise_signal(number)
            assert signal.getsignal(signal.SIGINT) is kept
            with pytest.raises(KeyboardInterrupt) as caught:
                signal.raise_signal(signal.SIGINT)
            assert getattr(caught.value, "code", None) == (130 if number else None)
    finally:
        signal.signal(signal.SIGINT, former)


def test_a_child_that_ends_after_the_signal_disturbs_nobody() -> None:
    raised: list[int] = []
    former = signal.signal(signal.SIGCHLD, lambda number, frame: raised.append(number))
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        run = ScriptedRun(Recorder())
        with StopOnSignals(run, Dispatcher(run)):
            signal.raise_signal(signal.SIGCHLD)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGCHLD)
        assert raised == [signal.SIGCHLD]
        assert signal.getsignal(signal.SIGCHLD) is handler
    finally:
        signal.signal(signal.SIGCHLD, former)


class _Unspeakable(Exception):
    """Its text can't be made."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def __str__(self) -> str:
        raise self.kind


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_error_whose_text_cannot_be_made_still_closes_everybody(
    kind: type[BaseException],
) -> None:
    closed: list[str] = []
    error = _Unspeakable(kind)
    raising = SpyCallback("on_step_end", lambda *_: (_ for _ in ()).throw(error), counts=())
    again = SpyCallback("on_close", lambda *_: (_ for _ in ()).throw(_Unspeakable(kind)), counts=())
    run = ScriptedRun([Closing("a", closed), raising, again, Closing("z", closed)])

    with pytest.raises(_Unspeakable) as caught:
        run.play([{}])
    assert caught.value is error
    assert closed == ["z", "a"]
    assert run.outcome is not None
    assert kind.__name__ in run.outcome.reason


@pytest.mark.parametrize("times", [1, 2, 3])
def test_signals_while_closing_end_one_callback_and_not_the_closing(times: int) -> None:
    closed: list[str] = []

    def hang(run: Run, outcome: Outcome) -> None:
        closed.append("hanging")
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        closed.append("done")

    hanging = SpyCallback("on_close", hang, counts=())
    run = ScriptedRun([Closing("a", closed), hanging, Closing("z", closed)])
    if times == 1:
        run.play([{}])
        assert closed == ["z", "hanging", "done", "a"]
    else:
        with pytest.raises(KeyboardInterrupt):
            run.play([{}])
        assert closed == ["z", "hanging", "a"]
    assert run.outcome is not None
    assert run.outcome.status is Status.COMPLETED


@pytest.mark.parametrize("ending", ["completed", "failed", "interrupted"])
def test_former_handlers_are_put_back(ending: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    stories: dict[str, Any] = {
        "completed": [{}],
        "failed": raising(ValueError("x")),
        "interrupted": send(signal.SIGINT, signal.SIGINT),
    }

    if ending == "completed":
        ScriptedRun(Recorder()).play(stories[ending])
    else:
        with pytest.raises(BaseException):
            ScriptedRun(Recorder()).play(stories[ending])
    if ending == "interrupted":
        before = (late_interrupt, before[1])  # one more may be on its way
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_handlers_are_installed_only_while_a_run_lasts() -> None:
    seen: list[Any] = []
    look = SpyCallback("on_step_end", lambda run: seen.append(signal.getsignal(signal.SIGTERM)))
    ScriptedRun(look).play([{}])

    assert seen[0] not in (signal.SIG_DFL, signal.getsignal(signal.SIGTERM))


def test_in_another_thread_no_handler_is_installed() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[Any] = []
    look = SpyCallback("on_step_end", lambda run: seen.append(signal.getsignal(signal.SIGINT)))
    thread = threading.Thread(target=lambda: ScriptedRun(look).play([{}]))
    thread.start()
    thread.join()

    assert seen[0] is before
