"""The grammar is read off the table of hooks, and refuses what the lifecycle can't produce."""

from __future__ import annotations

import pytest

from trackside.lifecycle.hooks import HOOKS
from trackside.outcome import Outcome, Status
from trackside.testing import Grammar, GrammarError, check_grammar
from trackside.testing.grammar import closes, opens

STEP = [
    "on_step_start",
    "on_batch_start",
    "on_backward_start",
    "on_backward_end",
    "on_batch_end",
    "on_optimizer_step_start",
    "on_optimizer_step_end",
    "on_zero_grad_start",
    "on_zero_grad_end",
    "on_step_end",
]
EVALUATION = [
    "on_evaluation_start",
    "on_evaluation_batch_start",
    "on_evaluation_batch_end",
    "on_evaluation_end",
]
PREPARED = [
    "on_attach",
    "on_launch_start",
    "on_configure_start",
    "on_configure_end",
    "on_setup_start",
    "on_setup_end",
]
TRAINED = [
    *PREPARED,
    "on_fit_start",
    "on_epoch_start",
    "on_train_epoch_start",
    *STEP,
    *EVALUATION,
    *STEP,
    "on_train_epoch_end",
    *EVALUATION,
    "on_log",
    "on_epoch_end",
    "on_fit_end",
    "on_close",
]


def path_to(hook: str) -> list[str]:
    """The shortest beginning of a run after which `hook` may come."""
    inside = HOOKS[closes(HOOKS[hook]) or hook].inside
    span = next(iter(inside), None)
    before = [] if span is None else [*path_to(span), span]
    own = closes(HOOKS[hook])
    return [*before, own] if own else before


def test_a_whole_run_is_accepted() -> None:
    check_grammar(TRAINED, Status.COMPLETED)


@pytest.mark.parametrize("length", range(1, len(TRAINED)))
def test_every_beginning_of_a_run_is_accepted(length: int) -> None:
    check_grammar(TRAINED[:length])


@pytest.mark.parametrize("hook", [h for h in HOOKS if h not in ("on_attach", "on_close")])
def test_every_hook_has_a_place(hook: str) -> None:
    check_grammar(["on_attach", *path_to(hook), hook])


@pytest.mark.parametrize("hook", [h for h in HOOKS if opens(HOOKS[h])])
def test_a_span_that_is_left_open_is_refused(hook: str) -> None:
    events = ["on_attach", *path_to(hook), hook, "on_close"]

    with pytest.raises(GrammarError, match="left spans open"):
        check_grammar(events, Status.COMPLETED)


@pytest.mark.parametrize("hook", [h for h in HOOKS if closes(HOOKS[h])])
def test_an_end_without_its_start_is_refused(hook: str) -> None:
    with pytest.raises(GrammarError, match="closes a span that isn't open"):
        check_grammar(["on_attach", hook])


@pytest.mark.parametrize(
    "hook",
    [h for h in HOOKS if HOOKS[h].inside and None not in HOOKS[h].inside and "_end" not in h],
)
def test_a_hook_outside_of_its_span_is_refused(hook: str) -> None:
    with pytest.raises(GrammarError, match=f"`{hook}` came outside of all spans"):
        check_grammar(["on_attach", hook])


@pytest.mark.parametrize("place", range(len(TRAINED)))
def test_a_run_with_one_event_missing_or_doubled_is_refused_where_it_matters(place: int) -> None:
    """Left out, a span's start or end is noticed, and so are `on_attach` and `on_close`."""
    event = TRAINED[place]
    matters = opens(HOOKS[event]) or closes(HOOKS[event]) or event in ("on_attach", "on_close")
    without = TRAINED[:place] + TRAINED[place + 1 :]

    if matters:
        with pytest.raises(GrammarError):
            check_grammar(without, Status.COMPLETED)
    else:
        check_grammar(without, Status.COMPLETED)


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (["on_step_start"], "before `on_attach`"),
        (["on_attach", "on_attach"], "`on_attach` came twice"),
        (["on_attach", "on_close", "on_log"], "after `on_close`"),
        (["on_attach", "on_exception", "on_log"], "after `on_exception`"),
        (["on_attach", "on_stop", "on_stop"], "`on_stop` came twice"),
        (["on_attach", "on_setup_start", "on_setup_end", "on_launch_start"], "came after"),
        (["on_attach", "on_fit_start", "on_fit_end", "on_fit_start"], "came after"),
        (["on_attach", "step_end"], "is not an event"),
        (
            ["on_attach", "on_fit_start", "on_epoch_start", "on_fit_end"],
            "a span in it was open",
        ),
    ],
)
def test_what_cannot_come_is_refused(events: list[str], said: str) -> None:
    with pytest.raises(GrammarError, match=said):
        check_grammar(events)


@pytest.mark.parametrize(
    ("events", "outcome", "said"),
    [
        (["on_attach"], Status.COMPLETED, "without `on_close`"),
        (["on_attach", "on_close"], Status.FAILED, "`on_exception` did not come"),
        (["on_attach", "on_exception", "on_close"], Status.COMPLETED, "`on_exception` came"),
        (["on_attach", "on_stop", "on_close"], Status.COMPLETED, "`on_stop` came"),
    ],
)
def test_an_ending_that_contradicts_the_outcome_is_refused(
    events: list[str], outcome: Status, said: str
) -> None:
    with pytest.raises(GrammarError, match=said):
        check_grammar(events, outcome)


def test_a_failed_run_may_leave_spans_open() -> None:
    events = [*PREPARED, "on_fit_start", "on_epoch_start", "on_exception", "on_close"]

    check_grammar(events, Outcome(Status.FAILED, "x", error=ValueError("x")))


def test_only_an_interrupted_run_may_close_a_span_around_an_open_one() -> None:
    events = [*PREPARED, "on_fit_start", "on_epoch_start", "on_fit_end", "on_close"]

    check_grammar(events, Outcome(Status.INTERRUPTED, "Ctrl-C", signal=2))
    with pytest.raises(GrammarError):
        check_grammar(events, Outcome(Status.STOPPED, "enough"))


def test_a_callback_that_joined_late_may_see_ends_without_starts() -> None:
    events = ["on_attach", "on_batch_end", "on_step_end", "on_step_start", "on_step_end"]

    check_grammar([*events, "on_fit_end", "on_close"], Status.COMPLETED, late=True)
    with pytest.raises(GrammarError):
        check_grammar(events)


def test_a_custom_event_may_come_anywhere() -> None:
    check_grammar(["on_attach", "on_sample_drawn", "on_close"], Status.COMPLETED)


def test_the_error_names_the_event_and_what_came_before() -> None:
    with pytest.raises(GrammarError) as caught:
        check_grammar(["on_attach", "on_fit_start", "on_step_start"])

    assert str(caught.value) == (
        "event 3: `on_step_start` came inside `on_fit_start`\n"
        "  expected: inside `on_train_epoch_start`\n"
        "  received: so far: on_attach, on_fit_start; open: on_fit_start"
    )


def test_a_grammar_tells_what_is_open() -> None:
    grammar = Grammar()
    for event in ("on_attach", "on_fit_start", "on_epoch_start"):
        grammar.feed(event)

    assert grammar.open_spans == ("on_fit_start", "on_epoch_start")
    assert grammar.seen == ("on_attach", "on_fit_start", "on_epoch_start")
