"""What `trackside ask RUN set` may change: numbers, choices and schedules that declare it."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import torch

from trackside import Run
from trackside.callbacks.reporting.notify import Notify
from trackside.callbacks.stopping.early_stopping import EarlyStopping
from trackside.config.builtin_callbacks import builtin_callbacks
from trackside.config.checking.kinds import CALLBACKS
from trackside.config.checking.options import options_of
from trackside.config.experiment.changes import (
    change_optimizers,
    settable_options,
    with_option,
    written_value,
)
from trackside.errors import TracksideError, UsageError

CLASSES: list[Any] = [CALLBACKS.resolve(name) for name in builtin_callbacks()]
DECLARED = [(one, name) for one in CLASSES for name in settable_options(one)]
OTHERS = [(o, n) for o in CLASSES for n in options_of(o).table if n not in settable_options(o)]


def _members(hint: Any) -> set[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        return {inner for part in get_args(hint) for inner in _members(part)}
    return {Literal if get_origin(hint) is Literal else hint}


@pytest.mark.parametrize(("kind", "option"), DECLARED, ids=str)
def test_what_is_settable_is_a_number_a_choice_or_a_schedule(kind: Any, option: str) -> None:
    members = _members(options_of(kind).table[option].hint) - {
        int,
        float,
        bool,
        type(None),
        Literal,
    }
    assert {getattr(one, "__name__", str(one)) for one in members} <= (
        {"Schedule", "str", "Every", "AnyOf", "AllOf"} if option == "every" else set()
    )


@pytest.mark.parametrize(("kind", "option"), OTHERS, ids=str)
def test_an_option_that_does_not_declare_it_is_refused(kind: Any, option: str) -> None:
    made = object.__new__(kind)
    with pytest.raises(UsageError, match="can't be changed while the run goes on"):
        with_option(made, "it", None, option, 1)


def test_commands_and_addresses_are_never_settable() -> None:
    assert not {"command", "url", "webhook"} & set(settable_options(Notify))


def test_a_value_is_checked_as_when_the_run_was_made() -> None:
    stopping = EarlyStopping("val/loss")
    for value in ("x", -1, [1], {"kind": "os.system"}):
        with pytest.raises(TracksideError):
            with_option(stopping, "it", None, "patience", value)


@pytest.mark.parametrize(
    "text",
    ["[1, 2]", "{kind: os.system}", "!!python/name:os.system x", ".nan", ".inf", "&a 1", "["],
)
def test_only_single_plain_values_are_read(text: str) -> None:
    with pytest.raises(UsageError):
        written_value(text)


def _run() -> Run:
    run = Run("fit", Path("run"))
    weights = [torch.zeros(1, requires_grad=True)]
    run.optimizers = {"a": torch.optim.SGD(weights, 0.1), "b": torch.optim.AdamW(weights, 0.1)}
    return run


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("lr", -1.0),
        ("lr", True),
        ("lr", "fast"),
        ("lr", None),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("lr", [0.1]),
        ("weight_decay", -1),
        ("params", 1),
        ("maximize", True),
        ("nesterov", 1),
        ("betas", 0.9),
        ("momentum", 0.9),  # one of the two has none: neither is changed
    ],
)
def test_an_optimizer_refuses_what_its_constructor_would(option: str, value: Any) -> None:
    run = _run()
    with pytest.raises(UsageError):
        change_optimizers(run, "optimizer", option, value)
    assert [o.param_groups[0]["lr"] for o in run.optimizers.values()] == [0.1, 0.1]


def test_a_number_changes_in_all_groups() -> None:
    run = _run()
    change_optimizers(run, "optimizer", "lr", 0.5)
    change_optimizers(run, "a", "momentum", 0.9)
    assert [o.param_groups[0]["lr"] for o in run.optimizers.values()] == [0.5, 0.5]
    assert run.optimizers["a"].param_groups[0]["momentum"] == 0.9
