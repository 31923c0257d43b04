"""What is refused when a callback joins: unknown hooks, and runs that lack what it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, runtime_checkable

import pytest
from typing_extensions import TypeVar

from trackside.errors import MissingRequirementError, UnknownHookError
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.hooks import CONTEXTS, HOOKS, Callback, event
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.lifecycle.registration import check_hooks, required_run
from trackside.progress import Progress
from trackside.run import Run


def first_line(error: BaseException) -> str:
    return str(error).splitlines()[0]


# --- hooks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", HOOKS)
def test_a_misspelt_hook_is_refused_with_the_right_name(hook: str) -> None:
    wrong = hook[:4] + hook[5:]
    callback = type("Monitor", (Callback,), {wrong: lambda self, run: None})()

    with pytest.raises(UnknownHookError) as caught:
        CallbackCollection([callback])
    assert first_line(caught.value) == (
        f"`Monitor.{wrong}` is not a hook: it would never be called."
    )
    assert f"did you mean `{hook}`?" in str(caught.value)


def test_the_example_of_the_style_page() -> None:
    class Monitor(Callback[Run]):
        def on_train_epch_end(self, run: Run, metrics: dict[str, float]) -> None: ...

    with pytest.raises(UnknownHookError, match="did you mean `on_train_epoch_end`"):
        check_hooks(Monitor())


def test_a_misspelt_hook_of_a_base_class_or_of_the_instance_is_found() -> None:
    class Base(Callback[Run]):
        def on_step_ended(self, run: Run) -> None: ...

    class Derived(Base):
        pass

    instance = Callback[Run]()
    instance.on_stop_it = lambda run: None  # type: ignore[attr-defined]

    with pytest.raises(UnknownHookError, match=r"`Derived\.on_step_ended`"):
        check_hooks(Derived())
    with pytest.raises(UnknownHookError, match=r"`Callback\.on_stop_it`"):
        check_hooks(instance)


def test_attributes_that_are_no_methods_may_begin_with_on() -> None:
    class Settings(Callback[Run]):
        on_error = "warn"
        on_times = 3

    check_hooks(Settings())


def test_a_declared_custom_event_may_be_answered() -> None:
    class Declares(Callback[Run]):
        @event
        def on_brush_stroke(self, run: Run) -> None: ...

    class Answers(Callback[Run]):
        def on_brush_stroke(self, run: Run) -> None: ...

    check_hooks(Declares())
    check_hooks(Answers())


def test_every_hook_and_context_may_be_overridden() -> None:
    body = {name: (lambda self, run, *a: None) for name in (*HOOKS, *CONTEXTS)}

    check_hooks(type("All", (Callback,), body)())


# --- the run -----------------------------------------------------------------------------------


class MyRun(Run):
    pictures: list[Any]

    def __init__(self, mode: Any, directory: Any = ".") -> None:
        super().__init__(mode, directory)
        self.drawn = 0
        self.pictures = []

    def paint(self) -> None: ...


class HasPaint(Protocol):
    def paint(self) -> None: ...


@runtime_checkable
class HasMore(HasPaint, Protocol):
    drawn: int
    pictures: list[Any]
    progress: Progress


class HasFrame(HasPaint, Protocol):
    frame: str

    @property
    def canvas(self) -> str: ...


R1 = TypeVar("R1", bound=Run, default=Run)


class Middle(Callback[R1], Generic[R1]):
    pass


def callbacks_of(kind: Any) -> list[Callback[Any]]:
    class Direct(Callback[kind]):
        pass

    class Derived(Direct):
        pass

    class ThroughGeneric(Middle[kind]):
        pass

    class Periodic(PeriodicCallback[kind]):
        pass

    return [Direct(), Derived(), ThroughGeneric(), Periodic("1 step")]


@pytest.mark.parametrize("kind", [Run, MyRun, HasPaint, HasMore, HasFrame])
def test_the_kind_of_run_is_found_through_bases_and_generics(kind: Any) -> None:
    for callback in callbacks_of(kind):
        assert required_run(type(callback)) is kind


@pytest.mark.parametrize(
    "make", [lambda: Callback(), lambda: Middle(), lambda: PeriodicCallback("1 step")]
)
def test_a_callback_that_says_nothing_needs_any_run(make: Callable[[], Callback[Any]]) -> None:
    assert required_run(type(make())) is Run


@pytest.mark.parametrize("kind", [Run, MyRun, HasPaint, HasMore])
def test_a_run_that_has_everything_is_accepted(kind: Any) -> None:
    for callback in callbacks_of(kind):
        assert len(CallbackCollection([callback], MyRun)) == 1


def test_attributes_of_the_plain_run_count_too() -> None:
    class HasProgress(Protocol):
        progress: Progress
        directory: Any

        def stop(self, reason: str) -> None: ...

    class Reads(Callback[HasProgress]):
        pass

    assert len(CallbackCollection([Reads()])) == 1


@pytest.mark.parametrize(
    ("kind", "run_class", "message"),
    [
        (MyRun, Run, "`{}` needs a run that is a `MyRun`, and `run_class` is `Run`"),
        (HasPaint, Run, "`{}` needs a run that is a `HasPaint`, and `Run` has no `paint`"),
        (
            HasMore,
            Run,
            "`{}` needs a run that is a `HasMore`, and `Run` has no `drawn`, `paint`, `pictures`",
        ),
        (
            HasFrame,
            MyRun,
            "`{}` needs a run that is a `HasFrame`, and `MyRun` has no `canvas`, `frame`",
        ),
    ],
)
def test_what_is_missing_is_named(kind: Any, run_class: type[Run], message: str) -> None:
    for callback in callbacks_of(kind):
        with pytest.raises(MissingRequirementError) as caught:
            CallbackCollection([callback], run_class)
        assert first_line(caught.value) == message.format(type(callback).__name__)
        assert "run_class" in str(caught.value)
