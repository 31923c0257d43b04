from __future__ import annotations

from typing import Any

import pytest
import torch

from trackside.callbacks.stopping.terminate_on_non_finite import TerminateOnNonFinite
from trackside.errors import ConfigurationError, NonFiniteError
from trackside.lifecycle import Callback
from trackside.run import Run
from trackside.settings import Result
from trackside.testing import Task, tiny_classification, tiny_regression

NAN = float("nan")


class Spoiler(Callback):
    """Makes the data, the loss or a gradient of given steps bad."""

    runs_before = (TerminateOnNonFinite,)

    def __init__(self, *steps: int, data: bool = False, gradient: bool = False) -> None:
        self.steps, self.data, self.gradient = steps, data, gradient

    def on_batch_start(self, run: Run, batch: Any) -> Any:
        if run.progress.steps_completed + 1 in self.steps and self.data:
            inputs, target = batch
            return [inputs * NAN, target]
        return None

    def on_backward_start(self, run: Run, loss: torch.Tensor) -> None:
        if run.progress.steps_completed + 1 in self.steps and not (self.data or self.gradient):
            loss.fill_(NAN)

    def on_backward_end(self, run: Run, loss: torch.Tensor) -> None:
        if run.progress.steps_completed + 1 in self.steps and self.gradient:
            next(run.model.parameters()).grad.fill_(NAN)  # type: ignore[union-attr]


def fit(task: Task, spoiler: Spoiler, watch: TerminateOnNonFinite, **options: Any) -> Result:
    trainer = task.trainer(callbacks=[spoiler, watch], **options)
    return trainer.fit(task.train, steps=6)


def test_no_step_comes_after_the_bad_one_and_the_weights_stay_finite() -> None:
    task = tiny_regression()

    result = fit(task, Spoiler(3), TerminateOnNonFinite())

    assert (result.outcome.status, result.outcome.step) == ("stopped", 3)
    assert task.weights.isfinite().all()


def test_the_message_names_step_and_who_asked() -> None:
    outcome = fit(tiny_regression(), Spoiler(3), TerminateOnNonFinite()).outcome

    assert outcome.asked_by == "terminate_on_non_finite"
    assert outcome.reason == "the loss is nan in step 3; batch and weights are finite"


def test_bad_data_is_told_from_bad_weights() -> None:
    outcome = fit(tiny_regression(), Spoiler(2, data=True), TerminateOnNonFinite()).outcome

    assert outcome.reason == "the loss is nan in step 2; the data is bad already: batch[0]"


def test_a_bad_gradient_is_named_by_its_parameter() -> None:
    watch = TerminateOnNonFinite(gradients=True)

    outcome = fit(tiny_regression(), Spoiler(2, gradient=True), watch).outcome

    assert outcome.reason == "a gradient is nan in step 2; not finite: weight"


def test_gradients_are_looked_at_only_when_asked() -> None:
    task = tiny_regression()
    spoiler = Spoiler(2, gradient=True)

    outcome = fit(task, spoiler, TerminateOnNonFinite()).outcome

    assert outcome.step == 3  # the step after: its loss is bad
    assert "not finite: weight" in outcome.reason


def test_raise_ends_the_run_with_an_error() -> None:
    with pytest.raises(NonFiniteError, match="the loss is nan in step 2"):
        fit(tiny_regression(), Spoiler(2), TerminateOnNonFinite("raise"))


def test_skip_drops_the_update_and_goes_on() -> None:
    task = tiny_regression()

    result = fit(task, Spoiler(2, 4), TerminateOnNonFinite("skip"))

    assert (result.outcome.status, result.outcome.step) == ("completed", 6)
    assert task.weights.isfinite().all()


def test_too_many_skips_in_a_row_stop_the_run() -> None:
    watch = TerminateOnNonFinite("skip", max_skips=2)

    outcome = fit(tiny_regression(), Spoiler(1, 2, 3, 4), watch).outcome

    assert (outcome.step, outcome.reason) == (
        3,
        "3 steps in a row had values that aren't finite",
    )


def test_skips_that_are_not_in_a_row_are_forgiven() -> None:
    watch = TerminateOnNonFinite("skip", max_skips=1)

    assert fit(tiny_regression(), Spoiler(1, 3, 5), watch).outcome.step == 6


def test_a_bad_batch_among_accumulated_ones_drops_the_whole_step() -> None:
    task = tiny_regression(samples=16)

    fit(task, Spoiler(1), TerminateOnNonFinite(), accumulate=2)

    assert task.weights.equal(tiny_regression(samples=16).weights)


def test_a_checkpoint_of_bad_weights_is_refused() -> None:
    task = tiny_classification()
    watch = TerminateOnNonFinite()

    class Ruin(Callback):
        def on_fit_end(self, run: Run) -> None:
            with torch.no_grad():
                next(run.model.buffers()).fill_(NAN)
            run.emit(Callback.on_checkpoint_save, {})

    with pytest.raises(NonFiniteError, match="refused"):
        task.trainer(callbacks=[watch, Ruin()]).fit(task.train, steps=1)


def test_watching_changes_no_weight() -> None:
    watched, other = tiny_classification(), tiny_classification()
    fit(watched, Spoiler(), TerminateOnNonFinite(gradients=True))
    other.trainer().fit(other.train, steps=6)

    assert watched.weights.equal(other.weights)


def test_on_an_accelerator_the_flag_is_read_late_and_the_step_named() -> None:
    task = tiny_regression()
    watch = TerminateOnNonFinite()

    class AsOnAnAccelerator(Callback):
        runs_after = (TerminateOnNonFinite,)

        def on_fit_start(self, run: Run) -> None:
            watch._waits = False

    trainer = task.trainer(callbacks=[Spoiler(3), watch, AsOnAnAccelerator()])

    outcome = trainer.fit(task.train, steps=6).outcome

    assert (outcome.step, outcome.reason) == (
        3,
        "the loss or a gradient is not finite in step 3",
    )


def test_a_policy_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean `skip`"):
        TerminateOnNonFinite("skipp")  # type: ignore[arg-type]


@pytest.mark.parametrize("max_skips", [0, 1.5])
def test_max_skips_is_a_number_of_steps(max_skips: int) -> None:
    with pytest.raises(ConfigurationError, match="max_skips"):
        TerminateOnNonFinite("skip", max_skips=max_skips)


@pytest.mark.parametrize(
    ("device", "policy", "waits"),
    [
        ("cpu", "stop", True),
        ("cuda", "stop", False),
        ("cuda", "raise", False),
        ("cuda", "skip", True),
    ],
)
def test_only_a_skip_has_to_wait_for_an_accelerator(device: str, policy: Any, waits: bool) -> None:
    watch, run = TerminateOnNonFinite(policy), Run("fit")
    run.device = torch.device(device)

    watch.on_fit_start(run)

    assert watch._waits is waits
