from __future__ import annotations

import math

import pytest

from trackside.callbacks.stopping.metric_plateau import MetricPlateau
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.testing import script


def losses(*values: float) -> list[dict[str, float]]:
    return [{"val/loss": value} for value in values]


def test_a_flat_metric_stops_the_run_and_is_named() -> None:
    run = script(MetricPlateau(window=2, min_improvement=0.1), losses(1, 1, 0.96, 0.96, 0.1))

    assert run.outcome is not None
    assert run.progress.epochs_completed == 4
    assert run.outcome.reason == (
        "val/loss is flat: the mean of the last 2 values improved on the 2 before by 4.00%, "
        "less than 10.00%"
    )


def test_a_mean_that_is_no_number_is_told_as_such() -> None:
    run = script(MetricPlateau(window=1), losses(1, math.nan, 0.1))

    assert run.outcome is not None
    assert run.progress.epochs_completed == 2
    assert run.outcome.reason.endswith("isn't a finite number")


def test_one_lucky_value_does_not_keep_the_run_alive() -> None:
    run = script(MetricPlateau(window=3), losses(1.0, 0.2, 1.0, 0.9, 0.9, 0.9, 0.9))

    assert run.progress.epochs_completed == 6


def test_a_steady_improvement_goes_on() -> None:
    run = script(MetricPlateau(window=2), losses(*(0.95**n for n in range(20))))

    assert run.progress.epochs_completed == 20


def test_its_values_go_on_in_another_instance() -> None:
    first, second = MetricPlateau(window=2), MetricPlateau(window=2)
    script(first, losses(1, 1, 1))

    class Resume(Callback):
        def on_setup_start(self, run: Run) -> None:
            second.load_state_dict(first.state_dict())

    assert script([second, Resume()], losses(1, 1)).progress.epochs_completed == 1


def test_values_of_another_metric_are_not_compared_with_those_of_this_one() -> None:
    first = MetricPlateau("val/loss", window=1)
    script(first, losses(1))
    second = MetricPlateau("val/accuracy", window=1)
    second.load_state_dict(first.state_dict())

    assert first.state_dict()["values"] == [1.0]
    assert second.state_dict()["values"] == []


def test_a_second_fit_starts_anew() -> None:
    plateau = MetricPlateau(window=1)
    script(plateau, losses(1, 1))

    assert script(plateau, losses(5, 1, 0.1)).progress.epochs_completed == 3


def test_options_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="window"):
        MetricPlateau(window=0)
    with pytest.raises(ConfigurationError, match="min_improvement"):
        MetricPlateau(min_improvement=-1.0)
