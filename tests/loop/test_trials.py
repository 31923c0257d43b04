"""Steps that don't count, evaluations that are left cleanly, moments, limits of a pass."""

from __future__ import annotations

import pytest

from trackside import Callback
from trackside.data.source import DataSource
from trackside.errors import ScheduleError
from trackside.lifecycle.hooks import Callback as Hooks
from trackside.progress import Progress
from trackside.run import Evaluation, Run
from trackside.schedule import Every, reached
from trackside.testing import tiny_regression


class Kept:
    """Where logged values go."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def log(self, name: str, value: float, weight: float) -> None:
        self.names.append(name)


def test_what_a_trial_logs_and_asks_for_is_dropped_but_for_signals() -> None:
    run, kept = Run("fit"), Kept()
    run.metric_log = kept  # type: ignore[assignment]
    run.stop("before", asked_by="me")
    run.batch_samples = 7

    with run.discarding():
        run.log("trial/value", 1.0)
        run.stop("not meant", asked_by="me")
        run.stop("Ctrl-C", asked_by="signal", signal=2)
        run.batch_samples = 3
    run.log("real/value", 1.0)

    assert kept.names == ["real/value"]
    assert [request.reason for request in run.requests] == ["before", "Ctrl-C"]
    assert run.batch_samples == 7


def test_a_trial_that_fails_leaves_the_log_in_place() -> None:
    run, kept = Run("fit"), Kept()
    run.metric_log = kept  # type: ignore[assignment]

    with pytest.raises(ValueError, match="broken"), run.discarding():
        raise ValueError("broken")
    run.log("real/value", 1.0)

    assert kept.names == ["real/value"]


@pytest.mark.parametrize("breaks", [False, True])
def test_an_evaluation_is_left_through_its_exits_in_reverse(breaks: bool) -> None:
    said: list[str] = []

    class Leaving(Callback):
        def on_evaluation_start(self, run: Run, evaluation: Evaluation) -> None:
            evaluation.exits.callback(said.append, "first in")
            evaluation.exits.callback(said.append, "second in")

        def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
            said.append("end")
            if breaks:
                raise ValueError("broken")

    task = tiny_regression()
    trainer = task.trainer(callbacks=[Leaving()])
    if breaks:
        with pytest.raises(ValueError, match="broken"):
            trainer.evaluate(task.validation)
    else:
        trainer.evaluate(task.validation)

    assert said == ["end", "second in", "first in"]


def test_optimizers_are_built_before_schedulers_and_only_to_train() -> None:
    heard: list[tuple[str, bool]] = []

    class Listening(Callback):
        def on_optimizers_ready(self, run: Run) -> None:
            heard.append((run.mode, hasattr(run, "schedulers")))

    task = tiny_regression()
    trainer = task.trainer(callbacks=[Listening()])
    trainer.fit(task.train, steps=1)
    trainer.evaluate(task.validation)

    assert heard == [("fit", False)]
    assert Hooks.on_optimizers_ready.__doc__


@pytest.mark.parametrize(
    ("moment", "progress", "expected"),
    [
        ("2 epochs", Progress(epochs_completed=1, steps_completed=99), False),
        ("2 epochs", Progress(epochs_completed=2), True),
        ("100 samples or 3 steps", Progress(steps_completed=3), True),
        ("100 samples or 3 steps", Progress(samples_completed=101), True),
        ("100 samples or 3 steps", Progress(steps_completed=2), False),
    ],
)
def test_a_moment_is_reached_by_count(moment: str, progress: Progress, expected: bool) -> None:
    assert reached(Every.parse(moment), progress) is expected


def test_a_moment_by_the_clock_is_refused() -> None:
    with pytest.raises(ScheduleError, match="can't be counted in seconds"):
        reached(Every.parse("1 step or 1 hour"), Progress(steps_completed=5))


@pytest.mark.parametrize(("limit", "batches", "samples"), [(2, 2, 8), (3, 3, 10), (99, 3, 10)])
def test_a_pass_has_at_most_its_limit_and_knows_its_length(
    limit: int, batches: int, samples: int
) -> None:
    source = DataSource("train", tiny_regression(samples=10).train, 4)
    source.limit(limit)

    assert len(list(source.begin(0))) == batches
    assert (source.batches, source.samples) == (batches, samples)
