"""What a callback may read, and what it may ask for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trackside.errors import UnknownDataError, UsageError
from trackside.run import Run
from trackside.testing import ScriptedRun, SpyCallback, script


def test_requests_keep_who_asked_and_why() -> None:
    asked: list[Any] = []

    def ask(run: Run) -> None:
        run.stop("enough")
        run.save("precious")
        run.evaluate("test", "curious")
        run.skip_step("bad", asked_by="somebody else")
        asked.extend(run.requests)

    script(SpyCallback("on_step_start", ask, counts=()), [{}])

    assert [(r.kind, r.reason, r.asked_by, r.name) for r in asked] == [
        ("stop", "enough", "spy_callback", ""),
        ("save", "precious", "spy_callback", ""),
        ("evaluate", "curious", "spy_callback", "test"),
        ("skip_step", "bad", "somebody else", ""),
    ]


def test_outside_of_a_hook_the_trainer_asks() -> None:
    run = Run("fit")
    run.stop("from outside")

    assert next(iter(run.requests)).asked_by == "trainer"
    assert run.stopping


def test_only_data_that_is_there_can_be_evaluated() -> None:
    run = Run("fit")
    run.data = {"val": None}

    with pytest.raises(
        UnknownDataError, match=r"no data named 'test' to evaluate\s+expected: one of val"
    ):
        run.evaluate("test")


def test_values_can_be_logged_while_training_only() -> None:
    with pytest.raises(UsageError, match="from `on_fit_start` on"):
        Run("fit").log("x", 1.0)


def test_a_name_without_a_slash_gets_that_of_the_data_in_hand() -> None:
    def in_training(run: Run, *_: Any) -> None:
        run.log("own", 1.0)

    def in_evaluation(run: Run, *_: Any) -> None:
        run.log("own", 2.0)

    spies = [
        SpyCallback("on_batch_end", in_training, counts=()),
        SpyCallback("on_evaluation_batch_end", in_evaluation, counts=()),
    ]
    spies[1].name = "other"
    run = script(spies, [{"val/loss": 1.0}])

    assert {"train_recent/own", "val/own"} <= set(run.history.names)


def test_the_model_is_the_one_named_model_else_the_first() -> None:
    run = Run("fit")
    run.models = {"generator": "g", "model": "m"}  # type: ignore[dict-item]
    assert run.model == "m"  # type: ignore[comparison-overlap]
    run.models = {"generator": "g", "critic": "c"}  # type: ignore[unreachable]
    assert run.model == "g"


def test_parameter_groups_are_named_by_optimizer_where_there_are_several() -> None:
    run = Run("fit")
    one = SimpleNamespace(param_groups=[{"lr": 1}, {"lr": 2}])
    run.optimizers = {"optimizer": one}  # type: ignore[dict-item]
    assert [name for name, _ in run.parameter_groups] == ["0", "1"]
    run.optimizers = {"a": one, "b": one}  # type: ignore[dict-item]
    assert [name for name, _ in run.parameter_groups] == ["a/0", "a/1", "b/0", "b/1"]


def test_the_outcome_is_there_while_callbacks_are_closed() -> None:
    seen: list[Any] = []
    run = ScriptedRun(SpyCallback("on_close", lambda run, o: seen.append((run.outcome, o))))
    ended = run.play([{}])

    assert seen == [(ended, ended)]
