"""Pruning is Optuna's own decision, agreed on as any stop."""

from __future__ import annotations

import sys
from typing import Any

import optuna
import pytest

from trackside.callbacks.stopping.optuna_pruning import OptunaPruning
from trackside.errors import ConfigurationError
from trackside.outcome import Outcome, Status
from trackside.testing import script

CURVES = [[1.0, 0.8, 0.6, 0.5], [0.9, 0.7, 0.5, 0.4], [1.2, 1.1, 1.0, 0.9], [0.95, 0.9, 0.3, 0.2]]
"""Losses by epoch of trials, one after another."""


def study() -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=1))


def by_hand() -> list[tuple[str, dict[int, float]]]:
    asked = study()
    for curve in CURVES:
        trial = asked.ask()
        for epoch, loss in enumerate(curve, start=1):
            trial.report(loss, epoch)
            if trial.should_prune():
                asked.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            asked.tell(trial, min(curve))
    return [(one.state.name, one.intermediate_values) for one in asked.trials]


def test_it_prunes_what_a_loop_by_hand_prunes_and_at_the_same_epoch() -> None:
    asked = study()

    def objective(trial: optuna.Trial) -> float:
        curve = CURVES[trial.number]
        run = script(OptunaPruning(trial), [{"val/loss": loss} for loss in curve])
        assert run.outcome is not None
        OptunaPruning.raise_if_pruned(run.outcome)
        return min(curve)

    asked.optimize(objective, n_trials=len(CURVES))

    found = [(one.state.name, one.intermediate_values) for one in asked.trials]
    assert found == by_hand()
    assert [state for state, _ in found].count("PRUNED") == 2  # or it shows nothing


def test_a_pruned_run_is_stopped_in_order_and_says_why() -> None:
    asked = study()
    for loss in (0.1, 0.1, 0.9):
        trial = asked.ask()
        run = script(OptunaPruning(trial), [{"val/loss": loss}] * 2)
        asked.tell(trial, loss)

    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.step) == (Status.STOPPED, 4)
    assert run.outcome.reason == "pruned by Optuna: val/loss 0.9 at epoch 1"


def test_the_axis_may_be_steps() -> None:
    trial = study().ask()
    script(OptunaPruning(trial, axis="step"), [{"val/loss": 0.5}, {"val/loss": 0.4}])

    [kept] = trial.study.trials
    assert kept.intermediate_values == {4: 0.5, 8: 0.4}


@pytest.mark.filterwarnings("error")
def test_what_a_trial_reported_before_its_resume_is_not_reported_again() -> None:
    trial = study().ask()
    trial.report(0.75, 1)
    script(OptunaPruning(trial), [{"val/loss": 0.5}, {"val/loss": 0.4}])

    [kept] = trial.study.trials
    assert kept.intermediate_values == {1: 0.75, 2: 0.4}


def test_another_end_is_not_taken_for_pruning() -> None:
    OptunaPruning.raise_if_pruned(Outcome(Status.COMPLETED, "reached epochs=2"))
    OptunaPruning.raise_if_pruned(Outcome(Status.STOPPED, "val/loss has not improved"))


def test_rank_zero_needs_a_trial() -> None:
    with pytest.raises(ConfigurationError, match="no trial to report to"):
        script(OptunaPruning(None), [{}])


def test_a_missing_package_is_told_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    trial: Any = None

    with pytest.raises(ConfigurationError, match=r"pip install 'trackside\[search\]'"):
        OptunaPruning(trial)
