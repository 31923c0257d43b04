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

    assert second.state_dict() == {"best": 0.25, "best_step": 40}


def test_targets_are_a_list() -> None:
    with pytest.raises(ConfigurationError, match="targets='val/accuracy' can't"):
        BestMetric("val/loss", "val/accuracy")
