from __future__ import annotations

import pytest

from trackside.callbacks.evaluation.best_metric import BestMetric
from trackside.errors import ConfigurationError
from trackside.testing import tiny_classification


def test_targets_are_logged_as_of_the_best_source() -> None:
    task = tiny_classification()
    best = BestMetric("val/loss", ["val/accuracy"])
    history = task.trainer(callbacks=[best]).fit(task.train, task.validation, epochs=6).history

    found = history.best("val/loss")
    assert found is not None
    assert best.best == found.value
    assert history.latest("best/val/accuracy") == found.record.values["val/accuracy"]


def test_the_best_value_survives_a_resume() -> None:
    first = BestMetric("val/loss", ["val/accuracy"])
    first.best, first._best_step = 0.25, 40
    second = BestMetric("val/loss", ["val/accuracy"])
    second.load_state_dict(first.state_dict())

    assert second.state_dict() == first.state_dict()
    assert (second.best, second._best_step) == (0.25, 40)


def test_the_best_of_another_source_does_not_count() -> None:
    first = BestMetric("val/loss", ["val/accuracy"])
    first.best, first._best_step = 0.25, 40
    second = BestMetric("val/loss", ["val/accuracy"], mode="max")
    second.load_state_dict(first.state_dict())

    assert second.best is None


def test_a_checkpoint_without_the_newest_targets_is_taken() -> None:
    best = BestMetric("val/loss", ["val/accuracy"])
    best.load_state_dict({"best": 0.25, "best_step": 40})

    assert best.best == 0.25


@pytest.mark.parametrize("first", ["test", "val"])
def test_a_target_counts_be_it_recorded_before_the_source_or_after_it(first: str) -> None:
    task = tiny_classification()
    best = BestMetric("val/loss", ["test/accuracy"])
    sets = {"test": task.validation, "val": task.validation}
    both = {first: sets.pop(first), **sets}
    history = task.trainer(callbacks=[best]).fit(task.train, both, epochs=2).history

    assert history.values("test/accuracy")
    assert history.values("best/test/accuracy") == history.values("test/accuracy")


def test_targets_are_a_list() -> None:
    with pytest.raises(ConfigurationError, match="targets='val/accuracy' can't"):
        BestMetric("val/loss", "val/accuracy")
