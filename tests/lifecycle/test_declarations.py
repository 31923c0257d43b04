"""Attributes that are nearly declarations, and declarations with values that can't be meant."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytest

from trackside.errors import DeclarationError
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.declarations import check_declarations
from trackside.lifecycle.hooks import Callback


def made(**attributes: Any) -> Callback[Any]:
    kind: type[Callback[Any]] = type("Watcher", (Callback,), attributes)
    return kind()


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("rank_zero_onyl", True, "rank_zero_only"),
        ("rank_zero", False, None),
        ("skip_steps", True, "skips_steps"),
        ("run_after", ("ema",), "runs_after"),
        ("run_before", [Callback], "runs_before"),
        ("run_in", ("fit",), "runs_in"),
        ("require", (Callback,), "requires"),
        ("monitor", ("val/loss",), "monitors"),
        ("log", ("lr/*",), "logs"),
        ("log", [], None),
        ("require", (), None),
        ("on_eror", "warn", "on_error"),
        ("unused_hook", frozenset({"on_log"}), "unused_hooks"),
    ],
)
def test_a_misspelt_declaration_is_refused_with_the_right_word(
    name: str, value: object, meant: str | None
) -> None:
    callback = made(**{name: value})

    if meant is None:
        check_declarations(callback)
        return
    with pytest.raises(DeclarationError, match=f"did you mean `{meant}`") as caught:
        CallbackCollection([callback])
    assert f"`Watcher.{name}`" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("monitor", "val/loss"), ("rank_zero_onyl", "yes"), ("require", Callback)],
)
def test_a_name_that_may_be_the_authors_own_is_warned_of(name: str, value: object) -> None:
    with pytest.warns(UserWarning, match=rf"`Watcher\.{name}` is not a declaration"):
        check_declarations(made(**{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("log", logging.getLogger("mine")),
        ("monitor", 3),
        ("names", ("a", "b")),
        ("_run_after", ("ema",)),
        ("run_at", ("gpu",)),
        ("monitor", property(lambda self: ("val/loss",))),
        ("skip_steps", lambda self: True),
    ],
)
def test_what_cannot_be_meant_for_a_declaration_is_left_alone(name: str, value: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_declarations(made(**{name: value}))


def test_options_of_the_constructor_are_the_authors_own() -> None:
    class Watcher(Callback[Any]):
        def __init__(self, monitor: tuple[str, ...] = (), skip_steps: bool = False) -> None:
            self.monitor, self.skip_steps = monitor, skip_steps

    check_declarations(Watcher(("val/loss",), skip_steps=True))


def test_a_misspelt_declaration_on_the_instance_is_refused() -> None:
    callback = made()
    vars(callback)["rank_zero_onyl"] = True

    with pytest.raises(DeclarationError, match="rank_zero_only"):
        check_declarations(callback)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("on_error", "wran"),
        ("runs_in", ("fti",)),
        ("runs_in", "fit"),
        ("runs_in", ()),
        ("monitors", "val/loss"),
        ("runs_after", "ema"),
        ("requires", Callback),
        ("rank_zero_only", "no"),
    ],
)
def test_a_declaration_with_a_value_that_cannot_be_meant_is_refused(
    name: str, value: object
) -> None:
    with pytest.raises(DeclarationError, match=rf"`Watcher\.{name}`"):
        check_declarations(made(**{name: value}))
