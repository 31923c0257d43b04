"""The table of hooks says what it has to, and everything else is derived from it."""

from __future__ import annotations

import inspect

import pytest

from trackside.lifecycle.hooks import ANYWHERE, CONTEXTS, HOOKS, Callback, event, is_overridden
from trackside.run import Run
from trackside.trainer import trainer


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_named_documented_and_gets_the_run_first(name: str) -> None:
    method = getattr(Callback, name)

    assert name.startswith("on_")
    assert HOOKS[name].name == name
    assert method.__doc__
    assert list(inspect.signature(method).parameters)[:2] == ["self", "run"]


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_fires_inside_spans_that_exist(name: str) -> None:
    for span in HOOKS[name].inside:
        assert span is None or (HOOKS[span].opens and HOOKS[span].closed_by in HOOKS)


def test_every_method_that_looks_like_a_hook_is_in_the_table() -> None:
    looks = {n for n, m in vars(Callback).items() if n.startswith("on_") and callable(m)}

    assert looks == set(HOOKS)
    assert all(hasattr(Callback, context) for context in CONTEXTS)


def test_hooks_that_fire_anywhere_open_nothing() -> None:
    assert not [n for n, h in HOOKS.items() if h.inside == ANYWHERE and (h.opens or h.closes)]


def test_the_trainer_has_the_same_hooks() -> None:
    assert issubclass(trainer.Trainer, Callback)


def test_an_event_that_is_only_declared_is_not_overridden() -> None:
    class Declares(Callback[Run]):
        @event
        def on_declared(self, run: Run) -> None: ...

    class Answers(Declares):
        def on_declared(self, run: Run) -> None: ...

    assert not is_overridden(Declares(), "on_declared")
    assert is_overridden(Answers(), "on_declared")
    assert not is_overridden(Callback(), "on_declared")


def test_the_methods_of_the_base_do_nothing() -> None:
    callback = Callback[Run]()

    assert not [name for name in (*HOOKS, *CONTEXTS) if is_overridden(callback, name)]
    assert callback.state_dict() == {}
    with callback.step_context(Run("fit")), callback.evaluation_context(Run("fit")):
        callback.load_state_dict({})
