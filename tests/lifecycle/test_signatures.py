"""Hooks that can't be called as they are called: refused when a callback joins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trackside.errors import HookSignatureError
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.hooks import Callback, event
from trackside.lifecycle.periodic import PeriodicCallback, on
from trackside.lifecycle.signatures import check_signatures

HOOK = "on_epoch_end"  # called with `run` and `metrics`


async def _coroutine(self: Any, run: Any, metrics: Any) -> None: ...


def _generator(self: Any, run: Any, metrics: Any) -> Iterator[int]:
    yield 1


def made(method: Any, name: str = HOOK) -> Callback[Any]:
    kind: type[Callback[Any]] = type("Monitor", (Callback,), {name: method})
    return kind()


@pytest.mark.parametrize(
    ("method", "said"),
    [
        pytest.param(lambda self, run: None, "can't be called", id="a parameter is missing"),
        pytest.param(lambda self, run, a, b: None, "can't be called", id="one too many"),
        pytest.param(lambda: None, "doesn't take `self`", id="no self"),
        pytest.param(lambda self, run, *, metrics: None, "can't be called", id="keyword only"),
        pytest.param(lambda self, metrics, run: None, "takes `metrics` in the place", id="swapped"),
        pytest.param(_coroutine, "coroutine", id="async"),
        pytest.param(_generator, "generator", id="yields"),
        pytest.param(3, "not a method", id="a number"),
    ],
)
def test_a_hook_that_cannot_be_called_as_it_is_called_is_refused(method: Any, said: str) -> None:
    with pytest.raises(HookSignatureError, match=said) as caught:
        CallbackCollection([made(method)])
    assert caught.value.expected == "def on_epoch_end(self, run, metrics)"


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(lambda self, run, metrics: None, id="as declared"),
        pytest.param(lambda self, r, m: None, id="other names"),
        pytest.param(lambda self, *arguments: None, id="anything"),
        pytest.param(lambda self, run, metrics, more=1: None, id="one more with a default"),
        pytest.param(lambda self, run, metrics, *, more=1: None, id="a keyword with a default"),
        pytest.param(staticmethod(lambda run, metrics: None), id="static"),
    ],
)
def test_a_hook_that_can_be_called_joins(method: Any) -> None:
    check_signatures(made(method))


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("on_close", lambda self: None),
        ("on_stop", lambda self, run: None),
        ("step_context", lambda self: None),
        ("state_dict", lambda self, run: None),
        ("load_state_dict", lambda self: None),
    ],
)
def test_hooks_contexts_and_states_are_all_looked_at(name: str, method: Any) -> None:
    with pytest.raises(HookSignatureError, match=name):
        check_signatures(made(method, name))


def test_a_hook_set_on_the_instance_is_looked_at() -> None:
    callback = Callback[Any]()
    vars(callback)[HOOK] = lambda run: None

    with pytest.raises(HookSignatureError, match="on_epoch_end"):
        check_signatures(callback)


def test_what_a_base_class_declares_is_held_to_its_declaration() -> None:
    class Diary(PeriodicCallback[Any]):
        def on_due(self) -> None: ...  # type: ignore[override]

    with pytest.raises(HookSignatureError, match="on_due") as caught:
        check_signatures(Diary("1 step"))
    assert caught.value.expected == "def on_due(self, run)"


def test_the_answer_to_a_custom_event_is_held_to_its_declaration() -> None:
    class Events(Callback[Any]):
        @event
        def on_sketched(self, run: Any, sketch: Any, *, colour: str = "red") -> None: ...

    with pytest.raises(HookSignatureError) as caught:
        check_signatures(made(lambda self, run, sketch: None, "on_sketched"))
    assert caught.value.expected == "def on_sketched(self, run, sketch, *, colour='red')"


@pytest.mark.parametrize("function", [lambda: None, lambda run: None, lambda run, a, b: None])
def test_a_function_is_held_to_the_hook_it_is_given_for(function: Callable[..., None]) -> None:
    with pytest.raises(HookSignatureError) as caught:
        on(Callback.on_evaluation_end)(function)
    assert "(run, evaluation)" in str(caught.value.expected)


def test_no_signature_is_made_of_a_hook_that_is_written_as_it_is_declared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []

    class Plain(Callback[Any]):
        def on_batch_end(self, run: Any, batch: Any, output: Any) -> None:
            """Nothing."""

    class Renamed(Callback[Any]):
        def on_batch_end(self, run: Any, data: Any, output: Any) -> None:
            """Nothing."""

    monkeypatch.setattr("trackside.lifecycle.signatures._check", lambda *seen: made.append(seen[1]))
    check_signatures(Plain())
    check_signatures(Renamed())
    assert made == ["Renamed.on_batch_end"]
