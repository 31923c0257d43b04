"""Every hook that a package has is in the table of its dialect, to the last, with its arguments."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import pytest

from tests.dialects.pages import page
from tests.dialects.their_hooks import PACKAGES, found, kept, written
from tests.dialects.training import trainer_of
from trackside import Settings
from trackside.callbacks import Checkpoint, SanityCheck
from trackside.lifecycle.hooks import HOOKS

BASES = {
    "keras": "Callback",
    "transformers": "TrainerCallback",
    "lightning": "Callback",
    "pytorch_accelerated": "TrainerCallback",
}
RARE = {
    "lightning": {"on_exception", "load_state_dict", "on_load_checkpoint", "state_dict"},
    "pytorch_accelerated": {"on_stop_training_error"},
}
"""Hooks that a run without an error and without a resume doesn't call."""


def base_of(dialect: str) -> Any:
    return getattr(import_module(f"trackside.dialects.{dialect}"), BASES[dialect])


def table_of(dialect: str) -> Any:
    return import_module(f"trackside.dialects.{dialect}").TABLE


def calls_in_a_run(dialect: str, hooks: set[str]) -> dict[str, list[dict[str, Any]]]:
    """The calls of these hooks in a training, an evaluation and a prediction, by parameter.

    Raises:
        TypeError: A hook doesn't take the arguments of a call.
    """
    base = base_of(dialect)
    seen: dict[str, list[dict[str, Any]]] = {}

    def note(name: str) -> Any:
        signature = inspect.signature(getattr(base, name))

        def hook(self: Any, *given: Any, **named: Any) -> Any:
            call = signature.bind(self, *given, **named).arguments
            seen.setdefault(name, []).append({**call, **call.get("kwargs", {})})
            return getattr(super(noting, self), name)(*given, **named)

        return hook

    noting: Any = type("Noting", (base,), {name: note(name) for name in hooks})
    settings = Settings(device="cpu", directory="run", log_every="1 step")
    ours = [Checkpoint(background=False), SanityCheck(batches=1, hooks=True)]
    trainer, task = trainer_of([noting(), *ours], accumulate=2, settings=settings)
    trainer.fit(task.train, task.validation, epochs=1)
    trainer.evaluate(task.validation)
    trainer.predict(task.validation)
    return seen


@pytest.mark.parametrize("dialect", PACKAGES)
def test_the_table_has_each_hook_and_no_other(dialect: str) -> None:
    assert {hook.name for hook in kept(dialect)} == set(table_of(dialect))


@pytest.mark.parametrize("dialect", PACKAGES)
def test_a_hook_is_carried_by_ours_or_refused_by_name_with_a_way(dialect: str) -> None:
    text = page(dialect).read_text()
    for name, row in table_of(dialect).items():
        assert set(row.carriers) <= set(HOOKS)
        assert bool(row.missing) != bool(row.carriers or row.note), name
        assert "`" in row.missing or not row.missing, f"{name}: no way is named"
        assert f"| `{name}` |" in text


@pytest.mark.parametrize("dialect", ["keras", "transformers", "lightning"])
def test_the_base_class_here_has_their_parameters(dialect: str) -> None:
    base = base_of(dialect)
    assert {h.name: h.parameters for h in kept(dialect)} == {
        hook.name: written(getattr(base, hook.name)) for hook in kept(dialect)
    }


OLD = {"keras": {"on_batch_begin", "on_batch_end"}}
"""Hooks that are called where the newer ones aren't overridden."""


@pytest.mark.parametrize("dialect", PACKAGES)
def test_each_hook_is_called_in_a_run_with_arguments_that_it_takes(dialect: str) -> None:
    refused = {name for name, row in table_of(dialect).items() if row.missing}
    old = OLD.get(dialect, set())
    called = {hook.name for hook in kept(dialect)} - refused - RARE.get(dialect, set())

    seen = calls_in_a_run(dialect, called - old)
    if old:
        seen |= calls_in_a_run(dialect, old)
    assert set(seen) == called


def test_an_event_of_transformers_has_the_keywords_that_their_trainer_gives() -> None:
    hooks = [hook for hook in kept("transformers") if hook.name != "on_push_begin"]
    seen = calls_in_a_run("transformers", {hook.name for hook in hooks})
    for hook in hooks:
        for call in seen[hook.name]:
            assert set(hook.keywords.split()) <= set(call), hook.name


@pytest.mark.peers
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("dialect", PACKAGES)
def test_the_kept_list_is_that_of_the_package_itself(dialect: str) -> None:
    pytest.importorskip(PACKAGES[dialect][0])
    assert kept(dialect) == found(dialect), "run python -m tests.dialects.their_hooks"
