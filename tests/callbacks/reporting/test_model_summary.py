from __future__ import annotations

import io

import pytest

from trackside.callbacks.reporting.model_summary import ModelSummary
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.testing import Task, tiny_classification, tiny_regression
from trackside.trainer.settings import Settings


def hooks_left(task: Task) -> int:
    return sum(len(module._forward_hooks) for module in task.model.modules())


def test_by_default_one_line_is_printed(plain: io.StringIO) -> None:
    task = tiny_regression()

    task.trainer(callbacks=[ModelSummary()]).fit(task.train, steps=1)

    assert plain.getvalue() == "model: Linear, 3 parameters (12 B)\n"


def test_the_table_shows_what_each_layer_gave_for_the_first_batch(plain: io.StringIO) -> None:
    task = tiny_classification()

    task.trainer(callbacks=[ModelSummary(depth=1)]).fit(task.train, steps=2)

    lines = plain.getvalue().splitlines()
    assert len(lines) == 2 + len(list(task.model.children()))
    assert lines[-1].split()[2] == "8×3"


def test_no_pass_through_the_model_is_added(plain: io.StringIO) -> None:
    plain_task, task = tiny_classification(), tiny_classification()
    plain_task.trainer().fit(plain_task.train, epochs=1)

    task.trainer(callbacks=[ModelSummary(depth=2)]).fit(task.train, epochs=1)

    assert task.weights.equal(plain_task.weights)


def test_the_layers_are_left_as_they_were(plain: io.StringIO) -> None:
    task = tiny_classification()

    task.trainer(callbacks=[ModelSummary(depth=2)]).fit(task.train, steps=1)

    assert hooks_left(task) == 0


class Refusal(Callback):
    def on_step_start(self, run: Run) -> None:
        raise ValueError("before the first batch")


def test_a_run_that_fails_before_the_first_batch_leaves_no_hook(plain: io.StringIO) -> None:
    task = tiny_classification()

    with pytest.raises(ValueError, match="first batch"):
        task.trainer(callbacks=[ModelSummary(depth=1), Refusal()]).fit(task.train, steps=1)

    assert hooks_left(task) == 0


def test_a_compiled_model_is_shown_without_shapes(plain: io.StringIO) -> None:
    task = tiny_classification()
    settings = Settings(compile={"backend": "eager"})

    task.trainer(callbacks=[ModelSummary(depth=1)], settings=settings).fit(task.train, steps=1)

    assert "8×3" not in plain.getvalue()
    assert plain.getvalue().count("\n") > 2


@pytest.mark.parametrize("depth", [-1, 1.5, True])
def test_a_depth_that_is_no_number_of_levels_is_refused(depth: int) -> None:
    with pytest.raises(ConfigurationError, match="depth="):
        ModelSummary(depth=depth)
