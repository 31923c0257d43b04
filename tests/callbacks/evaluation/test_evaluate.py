from __future__ import annotations

import pytest

from trackside.callbacks.evaluation.evaluate import Evaluate
from trackside.errors import UsageError
from trackside.testing import tiny_regression


def test_a_named_data_set_is_evaluated_on_its_own_schedule() -> None:
    task = tiny_regression()
    result = task.trainer(callbacks=[Evaluate("extra", every="2 epochs")]).fit(
        task.train, task.validation, epochs=5, data={"extra": task.validation}
    )

    assert [epoch for epoch, _ in result.history.points("extra/loss", "epoch")] == [2, 4]
    assert result.history.values("extra/loss") == result.history.values("val/loss")[1::2]


def test_data_that_is_not_there_is_refused_before_the_first_step() -> None:
    task = tiny_regression()
    with pytest.raises(UsageError, match="needs data named 'test'"):
        task.trainer(callbacks=[Evaluate()]).fit(task.train, task.validation, epochs=1)
