"""Who hears an event, in what order, what happens when one fails, and what it costs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.errors import StopTraining, UsageError
from trackside.lifecycle import dispatch
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.hooks import HOOKS, Callback, RankZeroCallback, event
from trackside.lifecycle.periodic import on
from trackside.outcome import Outcome, Status
from trackside.run import Run
from trackside.testing import Recorder, ScriptedRun, SpyCallback, script

DONE = Outcome(Status.COMPLETED, "done")


class Says(Callback[Run]):
    """Says its name at each step's end, and what else it is asked to do."""

    def __init__(self, name: str, said: list[str]) -> None:
        self.name = name
        self.said = said

    def on_step_end(self, run: Run) -> None:
        self.said.append(str(self.name))

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self.said.append(f"{self.name} closed")


def joined(*callbacks: Callback[Any], rank: int = 0) -> tuple[Run, Dispatcher, CallbackCollection]:
    """A run that callbacks have attached to."""
    made: list[Dispatcher] = []

    def make_events(run: Run) -> Dispatcher:
        made.append(Dispatcher(run, rank=rank))
        return made[0]

    run = Run("fit", events=make_events)
    run.callbacks = CallbackCollection(callbacks)
    run.callbacks.enter(made[0])
    return run, made[0], run.callbacks


# --- in which runs -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["fit", "evaluate", "predict"])
def test_a_callback_hears_only_the_kinds_of_runs_that_it_takes_part_in(mode: Any) -> None:
    callback = SpyCallback("on_step_end", lambda run: None, counts=("on_attach", "on_close"))
    callback.runs_in = ("fit",)
    run = Run(mode)
    run.callbacks = CallbackCollection([callback])
    events = Dispatcher(run)
    run.callbacks.enter(events)
    heard = events.has_listeners(Callback.on_step_end)
    events.close(DONE)

    assert heard == (mode == "fit")
    assert (callback.counts["on_attach"], callback.counts["on_close"]) == (heard, heard)


# --- who and in what order ---------------------------------------------------------------------


def test_callbacks_are_called_in_the_order_added() -> None:
    said: list[str] = []
    _, events, _ = joined(Says("a", said), Says("b", said), Says("c", said))
    events.fire(Callback.on_step_end)

    assert said == ["a", "b", "c"]


def test_a_hook_that_nobody_overrides_has_no_listeners() -> None:
    _, events, _ = joined(Says("a", []))

    listened = {hook.__name__ for hook, who in events.listeners.items() if who}
    assert listened == {"on_step_end", "on_close"}
    assert set(HOOKS) <= {hook.__name__ for hook in events.listeners}
    assert events.contexts == {"step_context": (), "evaluation_context": ()}


def test_an_instance_may_leave_hooks_of_its_class_unused() -> None:
    said: list[str] = []
    idle = Says("idle", said)
    idle.unused_hooks = frozenset({"on_step_end"})
    _, events, _ = joined(idle)
    events.fire(Callback.on_step_end)

    assert said == []
    assert events.listeners[Callback.on_step_end] == ()


def test_a_hook_set_on_the_instance_is_called() -> None:
    callback = Callback[Run]()
    called: list[Run] = []
    callback.on_step_end = called.append  # type: ignore[assignment, method-assign]
    run, events, _ = joined(callback)
    events.fire(Callback.on_step_end)

    assert called == [run]


@pytest.mark.parametrize(("rank", "heard"), [(0, ["zero", "all"]), (1, ["all"])])
def test_rank_zero_callbacks_are_silent_elsewhere(rank: int, heard: list[str]) -> None:
    said: list[str] = []

    class Zero(Says, RankZeroCallback[Run]):
        pass

    zero, everywhere = Zero("zero", said), Says("all", said)
    _, events, _ = joined(zero, everywhere, rank=rank)
    events.fire(Callback.on_step_end)
    events.close(DONE)

    assert said == heard + [f"{name} closed" for name in heard[::-1]]


def test_the_shield_is_around_all_listeners_and_not_there_without_any() -> None:
    entered: list[str] = []

    @contextlib.contextmanager
    def shield() -> Iterator[None]:
        entered.append("in")
        yield
        entered.append("out")

    run = Run("fit")
    events = Dispatcher(run, shield)
    collection = CallbackCollection([Says("a", entered), Says("b", entered)])
    collection.enter(events)
    events.fire(Callback.on_step_start)
    assert entered == []
    events.fire(Callback.on_step_end)
    assert entered == ["in", "a", "b", "out"]


# --- changing who listens, while they listen ---------------------------------------------------


def at_step(n: int, act: Any) -> Callback[Run]:
    return SpyCallback("on_step_end", lambda run: act(run), when=n, counts=())


def test_a_callback_added_in_a_hook_hears_from_the_next_event_on() -> None:
    late = Recorder()
    script(at_step(2, lambda run: run.callbacks.append(late)), [{}], epoch_steps=3)

    assert late.names[0] == "on_attach"
    assert late.names[1] != "on_step_end"
    assert late.names.count("on_step_end") == 1
    assert late.names[-1] == "on_close"


def test_the_events_of_a_late_callback_obey_the_grammar() -> None:
    from trackside.testing import check_grammar

    for hook in set(HOOKS) - {"on_attach", "on_close", "on_exception"}:
        late = Recorder()
        spy = SpyCallback(
            hook, lambda run, *_, late=late: run.callbacks.append(late, "late"), counts=()
        )
        run = script(spy, [{"val/loss": 1.0}])
        if late.events:
            assert run.outcome is not None
            check_grammar(late.events, run.outcome, late=True)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_removed_callback_is_closed_at_once_and_hears_nothing_more(place: int) -> None:
    said: list[str] = []
    victim = Says("victim", said)
    remover = at_step(2, lambda run: run.callbacks.__delitem__("victim"))
    others: list[Callback[Any]] = [Says("other", said), remover]
    others.insert(place, victim)
    script(others, [{}], epoch_steps=3)

    heard = [word for word in said if word.startswith("victim")]
    before = 2 if place < others.index(remover) else 1
    assert heard == ["victim"] * before + ["victim closed"]


def test_a_callback_may_remove_itself() -> None:
    said: list[str] = []
    quits = Says("quits", said)
    _, events, callbacks = joined(quits, Says("stays", said))

    def leave(run: Run) -> None:
        said.append("leaving")
        del callbacks["quits"]

    quits.on_step_end = leave  # type: ignore[method-assign]
    callbacks["quits"] = quits
    events._table()
    events.fire(Callback.on_step_end)
    events.fire(Callback.on_step_end)
    events.close(DONE)

    assert said == ["leaving", "quits closed", "stays", "stays", "stays closed"]


def test_a_replaced_callback_is_closed_and_the_new_one_attached() -> None:
    said: list[str] = []
    new = Recorder()
    replace = at_step(1, lambda run: run.callbacks.__setitem__("old", new))
    script([Says("old", said), replace], [{}], epoch_steps=2)

    assert said == ["old", "old closed"]
    assert new.names[0] == "on_attach"
    assert new.names[-1] == "on_close"


def test_who_is_removed_before_attaching_is_not_attached() -> None:
    said: list[str] = []
    recorder = Recorder()
    remover = SpyCallback("on_attach", lambda run: run.callbacks.__delitem__("recorder"), counts=())
    script([remover, recorder, Says("other", said)], [{}])

    assert recorder.events == []
    assert said[-1] == "other closed"


def test_who_is_added_while_attaching_is_attached_once() -> None:
    added = Recorder()
    adder = SpyCallback("on_attach", lambda run: run.callbacks.append(added), counts=())
    script([adder, Recorder()], [{}])

    assert added.names.count("on_attach") == 1
    assert added.names.count("on_close") == 1


def test_who_is_added_while_closing_is_closed_too() -> None:
    added = Recorder()
    adder = SpyCallback("on_close", lambda run, _: run.callbacks.append(added, "added"), counts=())
    run = script([Recorder(), adder], [{}])

    assert added.names == ["on_attach", "on_close"]
    assert run.callbacks.names == ("recorder", "spy_callback", "added")


def test_nobody_hears_an_event_before_having_attached_or_after_being_closed() -> None:
    heard: list[str] = []

    class Paint(Callback[Run]):
        @event
        def on_painted(self, run: Run) -> None: ...

    class Painter(Paint):
        def on_attach(self, run: Run) -> None:
            run.emit(Paint.on_painted)

        def on_close(self, run: Run, outcome: Outcome) -> None:
            run.emit(Paint.on_painted)

    class Viewer(Paint):
        def on_painted(self, run: Run) -> None:
            heard.append(self.name or "")

    before, after = Viewer(), Viewer()
    before.name, after.name = "before", "after"
    script([before, Painter(), after], [{}])

    # While attaching, the later one has not joined yet; while closing, it has left already.
    assert heard == ["before", "before"]


# --- requests and failures ---------------------------------------------------------------------


def test_stop_training_is_a_request_and_the_others_still_hear_the_event() -> None:
    said: list[str] = []
    spy = SpyCallback("on_step_end", StopTraining("enough"), counts=())
    run, events, _ = joined(spy, Says("after", said))
    events.fire(Callback.on_step_end)

    assert said == ["after"]
    assert [(r.kind, r.reason, r.asked_by) for r in run.requests] == [
        ("stop", "enough", "spy_callback")
    ]


def test_an_error_waits_for_the_others_and_names_the_callback() -> None:
    said: list[str] = []
    spy = SpyCallback("on_step_end", ValueError("x"), counts=())
    _, events, _ = joined(Says("before", said), spy, Says("after", said))

    events.fire(Callback.on_step_end)

    assert said == ["before", "after"]
    with pytest.raises(ValueError) as caught:
        events.failures.raise_first()
    assert caught.value.__notes__ == [
        "in callback 'spy_callback', hook `on_step_end`, after 0 completed steps"
    ]


def forgiving(hook: str, error: Any, when: int | None = None) -> SpyCallback:
    spy = SpyCallback(hook, error, when=when, counts=())
    spy.on_error = "warn"
    return spy


def test_a_forgiven_failure_is_logged_once_with_its_traceback_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    spy = forgiving("on_step_end", OSError("disk full"))
    run = script(spy, [{}], epoch_steps=2)

    assert run.outcome is not None
    assert run.outcome.status is Status.COMPLETED
    failed = [record for record in caplog.records if "failed" in record.getMessage()]
    assert len(failed) == 1
    assert failed[0].exc_info is not None
    assert "disk full" in caplog.text
    assert "in callback 'spy_callback', hook `on_step_end`" in caplog.text
    assert run.callbacks.failures() == {"spy_callback": 2}


def test_after_three_failures_in_a_row_a_callback_is_switched_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    spy = forgiving("on_step_end", OSError("disk full"))
    run = script(spy, [{}], epoch_steps=9)

    assert spy.counts["on_step_end"] == spy.switch_off_after == 3
    assert run.callbacks.failures() == {"spy_callback": 3}
    assert "switched off after 3 failures in a row" in caplog.text


def test_how_many_failures_a_callback_may_have_is_its_own_number() -> None:
    spy = forgiving("on_step_end", OSError("disk full"))
    spy.switch_off_after = 5
    script(spy, [{}], epoch_steps=9)

    assert spy.counts["on_step_end"] == 5


def test_a_success_of_the_same_hook_forgets_failures_and_one_of_another_hook_does_not() -> None:
    sometimes = forgiving("on_step_end", OSError)
    sometimes.act = lambda run: (
        (_ for _ in ()).throw(OSError) if run.progress.steps_completed % 3 else None
    )
    always = forgiving("on_log", OSError)
    always.name = "always"
    always.on_step_end = lambda run: None  # type: ignore[method-assign]
    run = script([sometimes, always], [{"train/loss": 1.0}], epoch_steps=9)

    assert sometimes.counts["on_step_end"] == 9
    assert always.counts["on_log"] == 3
    assert run.callbacks.failures() == {"spy_callback": 6, "always": 3}


def test_who_is_switched_off_is_still_closed() -> None:
    spy = forgiving("on_step_end", OSError)
    closed: list[str] = []
    spy.on_close = lambda run, outcome: closed.append("closed")  # type: ignore[method-assign]
    script(spy, [{}], epoch_steps=9)

    assert closed == ["closed"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_only_exceptions_are_forgiven(kind: type[BaseException]) -> None:
    with pytest.raises(kind):
        script(forgiving("on_step_end", kind), [{}])


@pytest.mark.parametrize("hook", ["on_attach", "on_close", "on_exception", "step_context"])
def test_failures_at_the_edges_are_forgiven_too(hook: str) -> None:
    spy = forgiving(hook, OSError("edge"))

    def story(run: ScriptedRun) -> None:
        run.tell_step()
        if hook == "on_exception":
            raise ValueError("first")

    run = ScriptedRun(spy)
    if hook == "on_exception":
        with pytest.raises(ValueError) as caught:
            run.play(story)
        assert not getattr(caught.value, "__notes__", [])
    else:
        run.play(story)
    assert run.callbacks.failures() == {"spy_callback": 1}


def test_a_warning_names_the_callback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "trackside"):
        script(forgiving("on_step_end", OSError, when=1), [{}])

    assert "callback 'spy_callback' failed, training goes on" in caplog.messages


# --- contexts ----------------------------------------------------------------------------------


class Wraps(Callback[Run]):
    """Notes when its context is entered and left; may raise, or try to swallow."""

    def __init__(
        self, name: str, said: list[str], raises: str = "", swallows: bool = False
    ) -> None:
        self.name, self.said, self.raises, self.swallows = name, said, raises, swallows

    @contextlib.contextmanager
    def step_context(self, run: Run) -> Iterator[None]:
        self.said.append(f"{self.name} in")
        if self.raises == "entering":
            raise OSError("entering")
        try:
            yield
        except ValueError:
            if not self.swallows:
                raise
        finally:
            self.said.append(f"{self.name} out")
            if self.raises == "leaving":
                raise OSError("leaving")


def test_contexts_nest_in_reverse() -> None:
    said: list[str] = []
    _, events, _ = joined(Wraps("a", said), Wraps("b", said))
    with events.context("step_context"):
        said.append("step")

    assert said == ["a in", "b in", "step", "b out", "a out"]


def test_an_error_inside_leaves_all_contexts_and_comes_out() -> None:
    said: list[str] = []
    _, events, _ = joined(Wraps("a", said), Wraps("b", said))
    with pytest.raises(ValueError, match="inside"), events.context("step_context"):
        raise ValueError("inside")

    assert said == ["a in", "b in", "b out", "a out"]


def test_a_context_cannot_swallow_an_error() -> None:
    _, events, _ = joined(Wraps("greedy", [], swallows=True))
    with pytest.raises(ValueError, match="inside"), events.context("step_context"):
        raise ValueError("inside")


def test_an_error_while_entering_leaves_those_that_were_entered() -> None:
    said: list[str] = []
    _, events, _ = joined(Wraps("a", said), Wraps("b", said, "entering"), Wraps("c", said))
    with pytest.raises(OSError, match="entering") as caught, events.context("step_context"):
        raise AssertionError("not reached")

    assert said == ["a in", "b in", "a out"]
    assert "in callback 'b', hook `step_context`" in caught.value.__notes__[0]


def test_an_error_while_leaving_comes_out_where_there_was_none() -> None:
    said: list[str] = []
    _, events, _ = joined(Wraps("a", said), Wraps("b", said, "leaving"))
    with pytest.raises(OSError, match="leaving"), events.context("step_context"):
        pass

    assert said == ["a in", "b in", "b out", "a out"]


def test_an_error_while_leaving_does_not_replace_the_first() -> None:
    said: list[str] = []
    _, events, _ = joined(Wraps("a", said), Wraps("b", said, "leaving"))
    with pytest.raises(ValueError, match="first") as caught, events.context("step_context"):
        raise ValueError("first")

    assert said == ["a in", "b in", "b out", "a out"]
    assert "while leaving `step_context`, another error came up" in caught.value.__notes__[0]
    assert "OSError: leaving" in caught.value.__notes__[0]


def test_stop_training_from_a_context_is_a_request() -> None:
    run, events, _ = joined(SpyCallback("step_context", StopTraining("now"), counts=()))
    with events.context("step_context"):
        pass

    assert run.stopping


# --- replacing batches -------------------------------------------------------------------------


def test_a_returned_batch_replaces_the_batch_for_the_next_one() -> None:
    double = on(Callback.on_batch_start, name="double")(lambda run, batch: batch * 2)
    ignore = on(Callback.on_batch_start, name="ignore")(lambda run, batch: None)
    add = on(Callback.on_batch_start, name="add")(lambda run, batch: batch + 1)
    _, events, _ = joined(double, ignore, add)

    assert events.transform(Callback.on_batch_start, 10) == 21


# --- custom events -----------------------------------------------------------------------------


class Painting(Callback[Run]):
    @event
    def on_painted(self, run: Run, colour: str, *, size: int = 1) -> None: ...


def test_a_custom_event_reaches_those_who_have_its_method() -> None:
    seen: list[tuple[str, int]] = []

    class Viewer(Painting):
        def on_painted(self, run: Run, colour: str, *, size: int = 1) -> None:
            seen.append((colour, size))

    run, _, _ = joined(Painting(), Recorder(), Viewer())
    run.emit(Painting.on_painted, "red", size=3)

    assert seen == [("red", 3)]


def test_a_custom_event_is_known_to_callbacks_that_join_after_its_first_firing() -> None:
    seen: list[str] = []

    class Viewer(Painting):
        def on_painted(self, run: Run, colour: str, *, size: int = 1) -> None:
            seen.append(colour)

    run, _, callbacks = joined(Recorder())
    run.emit(Painting.on_painted, "unseen")
    callbacks.append(Viewer())
    run.emit(Painting.on_painted, "seen")

    assert seen == ["seen"]


def test_a_function_can_answer_a_custom_event() -> None:
    seen: list[tuple[str, int]] = []
    answer = on(Painting.on_painted)(lambda run, colour, *, size=1: seen.append((colour, size)))
    answer.name = "answer"
    run, _, _ = joined(answer)
    run.emit(Painting.on_painted, "blue", size=2)

    assert seen == [("blue", 2)]


def test_outside_of_a_run_nothing_can_be_emitted() -> None:
    with pytest.raises(UsageError, match="between `on_attach` and `on_close`"):
        Run("fit").emit(Painting.on_painted, "red")


# --- time --------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    own=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=4),
    inner=st.integers(0, 5),
)
def test_time_of_nested_events_is_counted_once(own: list[tuple[int, int]], inner: int) -> None:
    clock = Clock()

    class Outer(Painting):
        def on_step_end(self, run: Run) -> None:
            for before, after in own:
                clock.now += before
                run.emit(Painting.on_painted, "red")
                clock.now += after

    class Inner(Painting):
        def on_painted(self, run: Run, colour: str, *, size: int = 1) -> None:
            clock.now += inner

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "perf_counter", clock)
        _, events, _ = joined(Outer(), Inner())
        events.fire(Callback.on_step_end)

    shares = events.seconds_by_callback()
    assert shares["outer"] == sum(before + after for before, after in own)
    assert shares["inner"] == inner * len(own)
    assert sum(shares.values()) == clock.now


def test_time_in_a_failing_hook_counts_too() -> None:
    clock = Clock()

    def work(run: Run) -> None:
        clock.now += 2
        raise ValueError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "perf_counter", clock)
        _, events, _ = joined(SpyCallback("on_step_start", work, counts=()))
        with pytest.raises(ValueError):
            events.fire(Callback.on_step_start)

    assert events.seconds_by_callback() == {"spy_callback": 2.0}


def test_the_costliest_comes_first_and_who_left_is_still_listed() -> None:
    clock = Clock()

    def working(name: str, seconds: float) -> Callback[Any]:
        def work(run: Run) -> None:
            clock.now += seconds

        return on(Callback.on_step_end, name=name)(work)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "perf_counter", clock)
        _, events, callbacks = joined(working("a", 1), working("b", 3), working("c", 2))
        events.fire(Callback.on_step_end)
        del callbacks["b"]
        callbacks.append(working("b", 1))
        events.fire(Callback.on_step_end)

    assert list(events.seconds_by_callback().items()) == [("b", 4.0), ("c", 4.0), ("a", 2.0)]


@pytest.mark.parametrize("hook", ["on_step_end", "on_attach", "on_close", "on_exception"])
def test_the_speaker_is_who_is_being_called(hook: str) -> None:
    speakers: list[str | None] = []
    spy = SpyCallback(hook, lambda run, *_: speakers.append(run.current_callback), counts=())
    run = ScriptedRun(spy)

    def story(run: ScriptedRun) -> None:
        run.tell_step()
        raise ValueError

    with pytest.raises(ValueError):
        run.play(story)
    assert speakers == ["spy_callback"]
    assert run.current_callback is None
