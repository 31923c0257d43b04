from __future__ import annotations

import pytest
import torch

from trackside.callbacks.watching.batch_shapes import BatchShapes
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.testing import ScriptedRun, script, tiny_regression


def test_a_ragged_last_batch_is_a_second_shape() -> None:
    task, shapes = tiny_regression(samples=10, batch_size=4), BatchShapes()

    history = task.trainer(callbacks=[shapes]).fit(task.train, epochs=1).history

    assert history.latest("batch/distinct_shapes") == 2
    assert shapes.shapes == {
        "list(float32 (4, 2), float32 (4, 1))": 2,
        "list(float32 (2, 2), float32 (2, 1))": 1,
    }


def tell(lengths: list[int], shapes: BatchShapes) -> None:
    def story(run: ScriptedRun) -> None:
        for length in lengths:
            run.tell_step(batch=torch.zeros(1, length))
        for _ in range(2):
            run.fire(Callback.on_measure, {})

    script(shapes, story)


def test_too_many_shapes_are_told_once_with_the_most_frequent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tell([7, 7, 8, 9], BatchShapes(warn_above=2))

    [warning] = caplog.messages
    assert "3 shapes" in warning
    assert "2 times float32 (1, 7)" in warning


def test_few_shapes_are_no_news(caplog: pytest.LogCaptureFixture) -> None:
    tell([7, 8], BatchShapes(warn_above=2))

    assert caplog.messages == []


def test_its_counts_are_state() -> None:
    first, second = BatchShapes(), BatchShapes()
    tell([7, 8], first)

    second.load_state_dict(first.state_dict())

    assert second.shapes == first.shapes


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="warn_above"):
        BatchShapes(warn_above=0)
