"""What a trainer inherits from `Callback` is honoured, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from trackside import Callback, Trainer
from trackside.errors import DeclarationError, MissingRequirementError, MonitorError
from trackside.lifecycle.hooks import Callback as Declares
from trackside.run import Run
from trackside.testing import tiny_regression
from trackside.trainer.assembly import events_of

REFUSED: dict[str, Any] = {
    "effect": "changes",
    "name": "mine",
    "runs_after": ("checkpoint",),
    "runs_before": ("checkpoint",),
    "settable": ("accumulate",),
    "writes": ("path",),
}
HONOURED = {
    "calls_collectives",
    "logs",
    "monitors",
    "on_error",
    "rank_zero_only",
    "requires",
    "runs_in",
    "skips_steps",
    "switch_off_after",
    "unused_hooks",
}
"""Each has a test below; `calls_collectives` in `tests/lifecycle/test_failures.py`, and
`skips_steps` in `tests/distributed/test_skipping.py`."""


class Hears(Trainer):
    """Notes that training starts."""

    heard = 0

    def on_fit_start(self, run: Run) -> None:
        self.heard += 1


def fit(declared: dict[str, Any], *callbacks: Callback, kind: type[Trainer] = Hears) -> Trainer:
    task = tiny_regression()
    trainer = type("Mine", (kind,), declared)(
        task.model, loss=task.loss, optimizer=task.optimizer, callbacks=callbacks, defaults=False
    )
    trainer.fit(task.train, task.validation, steps=1)
    return trainer


def test_every_declaration_of_callbacks_is_honoured_or_refused() -> None:
    declared = set(Declares.__annotations__)

    assert declared == HONOURED | set(REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_a_declaration_that_a_trainer_cannot_use_is_refused(name: str) -> None:
    with pytest.raises(DeclarationError, match=rf"Mine\.{name}"):
        fit({name: REFUSED[name]})


@pytest.mark.parametrize("name", REFUSED)
def test_one_that_is_set_later_is_refused_when_a_run_begins(name: str) -> None:
    trainer = fit({})
    setattr(trainer, name, REFUSED[name])
    with pytest.raises(DeclarationError, match=rf"Mine\.{name}"):
        trainer.fit(tiny_regression().train, steps=1)


def test_what_it_watches_has_to_be_logged() -> None:
    with pytest.raises(MonitorError, match="'trainer' watches 'other/loss'"):
        fit({"monitors": ("other/loss",)})


class Watches(Callback):
    monitors = ("mine/value",)
    logs = ("watches/nothing",)  # so that it may log nothing else


def test_what_it_logs_can_be_watched() -> None:
    assert fit({"logs": ("mine/value",)}, Watches()).result is not None


def test_what_it_does_not_name_among_its_logs_is_not_logged() -> None:
    with pytest.raises(MonitorError, match="mine/value"):
        fit({"logs": ("mine/other",)}, Watches())


def test_a_callback_that_it_requires_has_to_be_there() -> None:
    with pytest.raises(MissingRequirementError, match=r"'trainer' needs .*`Watches`"):
        fit({"requires": (Watches,)})


def test_on_other_ranks_hooks_for_rank_zero_are_silent() -> None:
    trainer = fit({"rank_zero_only": True})
    run, silent = Run("fit"), []
    for rank in (0, 1):
        events = events_of(run, rank)
        trainer.callbacks.enter(events, trainer)
        silent.append(not events.has_listeners(Callback.on_fit_start))
        trainer.callbacks.leave()

    assert silent == [False, True]


def test_in_runs_that_it_takes_no_part_in_its_hooks_are_silent() -> None:
    assert [fit({"runs_in": (mode,)}).heard for mode in ("fit", "predict")] == [1, 0]  # type: ignore[attr-defined]


def test_hooks_that_it_has_no_need_of_are_silent() -> None:
    trainer = fit({"unused_hooks": frozenset({"on_fit_start"})})

    assert trainer.heard == 0  # type: ignore[attr-defined]


class Fails(Trainer):
    def on_fit_start(self, run: Run) -> None:
        raise ValueError("on purpose")


def test_its_hooks_may_fail_as_often_as_it_says(caplog: pytest.LogCaptureFixture) -> None:
    fit({"on_error": "warn", "switch_off_after": 1}, kind=Fails)

    assert "switched off after 1 failure" in caplog.text


def test_its_hooks_may_fail_where_it_says_so() -> None:
    trainer = fit({"on_error": "warn"}, kind=Fails)

    assert trainer.result is not None
    assert trainer.result.outcome.status == "completed"
