"""An error of a callback: who still hears the event, and when it ends the run."""

from __future__ import annotations

from typing import Any

import pytest

from trackside.errors import ConfigurationError, DisagreementError, NonFiniteError, StopTraining
from trackside.lifecycle.failures import AT_ONCE, BEGINNINGS, WHOLE, Failures, is_forgiven
from trackside.lifecycle.hooks import HOOKS, Callback
from trackside.outcome import Status
from trackside.run import Run
from trackside.testing import ScriptedRun, SpyCallback


class World:
    """Several ranks, or one."""

    def __init__(self, size: int) -> None:
        self.size = size


def run_on(ranks: int) -> Run:
    run = Run("fit")
    run.world = World(ranks)  # type: ignore[assignment]
    return run


def test_a_hook_is_of_one_kind_and_exists() -> None:
    assert not WHOLE & BEGINNINGS
    assert not (WHOLE | BEGINNINGS) & AT_ONCE
    assert set(HOOKS) >= WHOLE | BEGINNINGS | AT_ONCE


def test_the_first_error_is_raised_and_a_further_one_is_a_note_on_it() -> None:
    first = SpyCallback("on_step_end", ValueError("first"), counts=())
    second = SpyCallback("on_step_end", KeyError("second"), counts=())
    first.name, second.name = "one", "other"

    with pytest.raises(ValueError, match="first") as caught:
        ScriptedRun([first, second]).play([{}])

    assert any("KeyError: 'second'" in note for note in caught.value.__notes__)


def test_an_error_that_comes_before_the_run_is_saved_is_a_note_on_the_first() -> None:
    failures, first, later = Failures(run_on(1)), ValueError("first"), OSError("disk full")
    failures.keep(first, "mine", "on_step_end")

    assert failures.first_of(later) is first
    assert "disk full" in first.__notes__[0]


def test_a_signal_comes_before_all_errors() -> None:
    failures, impatient = Failures(run_on(1)), KeyboardInterrupt()
    failures.keep(ValueError("first"), "mine", "on_step_end")

    assert failures.first_of(impatient) is impatient


def test_the_same_failure_in_further_steps_is_noted_once() -> None:
    failures, first = Failures(run_on(2)), ValueError("first")
    for error in (first, ValueError("again"), ValueError("and again")):
        failures.keep(error, "mine", "on_step_end")

    assert not getattr(first, "__notes__", [])


@pytest.mark.parametrize("error", [NonFiniteError("nan"), DisagreementError("ranks differ")])
def test_numbers_that_went_wrong_are_not_saved(error: Exception) -> None:
    failures = Failures(run_on(1))
    failures.keep(error, "mine", "on_step_end")

    assert not failures.is_worth_saving


@pytest.mark.parametrize(("ranks", "waits"), [(1, True), (2, False)])
def test_an_error_at_the_beginning_of_an_epoch_waits_in_one_process_only(
    ranks: int, waits: bool
) -> None:
    assert Failures(run_on(ranks)).waits_at("on_epoch_start") is waits


@pytest.mark.parametrize(("ranks", "forgiven"), [(1, True), (2, False)])
def test_a_callback_that_others_wait_for_is_forgiven_in_one_process_only(
    ranks: int, forgiven: bool
) -> None:
    class Gathers(Callback):
        on_error = "warn"
        calls_collectives = True

    assert is_forgiven(Gathers(), run_on(ranks), "on_step_end", ValueError()) is forgiven


@pytest.mark.parametrize(("hook", "forgiven"), [("on_fit_start", False), ("on_log", True)])
def test_a_mistake_in_options_is_refused_while_the_run_is_set_up(hook: str, forgiven: bool) -> None:
    class Watches(Callback):
        on_error = "warn"

    found = is_forgiven(Watches(), run_on(1), hook, ConfigurationError("no such parameter"))
    assert found is forgiven


def test_a_stop_that_is_raised_is_no_error() -> None:
    run = ScriptedRun(SpyCallback("on_step_end", StopTraining("enough"), counts=()))

    assert run.play([{}]).status is Status.STOPPED


def test_an_error_while_a_run_is_set_up_is_raised_at_once() -> None:
    heard: list[str] = []

    class After(Callback):
        def on_fit_start(self, run: Any) -> None:
            heard.append("on_fit_start")

    with pytest.raises(ValueError):
        ScriptedRun([SpyCallback("on_fit_start", ValueError, counts=()), After()]).play([{}])

    assert heard == []
