"""`StepAudit` finds flipped bits, raises no alarm without one, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Optimizer

from tests.callbacks.watching.flipping import WHAT, Flips, flip
from trackside import Callback, Run, Settings, Trainer, UsageError
from trackside.callbacks import ClipGradients, StepAudit
from trackside.errors import ConfigurationError, CorruptionError
from trackside.outcome import Status
from trackside.step.optimization import Clip
from trackside.testing import Task, tiny_classification, tiny_regression


def fitted(*callbacks: Any, task: Task | None = None, epochs: int = 2, **options: Any) -> Task:
    task = task or tiny_classification()
    task.trainer(callbacks=list(callbacks), **options).fit(task.train, epochs=epochs)
    return task


@pytest.mark.parametrize("what", WHAT)
def test_a_flipped_bit_of_any_tensor_of_a_step_is_found(what: str) -> None:
    audit, flips = StepAudit("1 step", policy="warn"), Flips((what,), due=lambda step: step > 1)

    fitted(flips, audit)

    assert [finding.step for finding in audit.findings] == sorted(flips.flipped)
    assert len(flips.flipped) >= 3


def test_the_lowest_bit_of_a_mantissa_is_enough() -> None:
    audit = StepAudit("1 step", policy="warn")
    flips = Flips(low=True, due=lambda step: step > 1)

    fitted(flips, audit)

    assert [finding.step for finding in audit.findings] == sorted(flips.flipped)


def test_a_flip_that_the_update_swallows_is_found() -> None:
    class Swallowed(Callback[Run]):
        def on_fit_start(self, run: Run) -> None:
            self.weight = next(run.model.parameters())
            self.weight.data.fill_(1e-30)  # far below what the update adds

        def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
            if run.progress.steps_completed == 0:
                flip(self.weight, 0, 0)

    audit = StepAudit("1 step", policy="warn")

    fitted(Swallowed(), audit, task=tiny_regression())

    ((step, found),) = [(one.step, one.differences) for one in audit.findings]
    assert (step, [one.name for one in found]) == (1, ["the weight before the update weight"])


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param({"accumulate": 2}, id="accumulated"),
        pytest.param({"clip": Clip(norm=0.1)}, id="clipped"),
        pytest.param({"precision": "bf16"}, id="bf16"),
    ],
)
def test_an_honest_step_repeats_bitwise_and_the_run_is_the_same(options: dict[str, Any]) -> None:
    audit = StepAudit("1 step")

    audited = fitted(audit, **options)

    assert audit.audited > 0
    assert torch.equal(audited.weights, fitted(**options).weights)


def test_gradients_that_a_callback_clips_are_clipped_in_the_repeat_too() -> None:
    audit = StepAudit("1 step")

    fitted(ClipGradients(norm=0.01), audit)

    assert audit.audited == 6


def test_only_steps_of_the_schedule_are_audited() -> None:
    audit = StepAudit("4 steps")

    fitted(audit)

    assert audit.audited == 1


def test_a_difference_names_device_rank_step_and_tensor(caplog: pytest.LogCaptureFixture) -> None:
    fitted(
        Flips(("gradient",), due=lambda step: step == 2, low=True),
        StepAudit("1 step", policy="warn"),
        task=tiny_regression(),
    )

    assert "step 2 on cpu, rank 0: the gradient of " in caplog.text


def test_by_policy_raise_the_bad_step_is_not_counted() -> None:
    task, stands = tiny_regression(), []

    class Stands(Callback[Run]):
        def on_close(self, run: Run, outcome: Any) -> None:
            stands.append(run.progress.steps_completed)

    with pytest.raises(CorruptionError, match="step 2 on cpu"):
        fitted(Flips(due=lambda step: step == 2), StepAudit("1 step"), Stands(), task=task)
    assert stands == [1]


def test_by_policy_stop_the_run_has_diverged() -> None:
    task = tiny_regression()
    flips = Flips(due=lambda step: step == 2)

    result = task.trainer(callbacks=[flips, StepAudit("1 step", policy="stop")]).fit(
        task.train, epochs=4
    )

    assert (result.outcome.status, result.outcome.step) == (Status.DIVERGED, 2)


def test_changed_gradients_are_told_from_the_repeat() -> None:
    class Doubles(Callback[Run]):
        def on_optimizer_step_start(self, run: Run, optimizer: Optimizer) -> None:
            for parameter in run.model.parameters():
                if parameter.grad is not None:
                    parameter.grad *= 2

    with pytest.raises(CorruptionError, match="the gradient of"):
        fitted(Doubles(), StepAudit("1 step"))


def test_a_batch_that_another_callback_replaces_is_the_one_repeated() -> None:
    class Noise(Callback[Run]):
        def on_batch_start(self, run: Run, batch: Any) -> Any:
            return batch[0] + torch.randn_like(batch[0]), batch[1]

    audit = StepAudit("1 step")

    fitted(audit, Noise())

    assert audit.audited == 6


def test_a_skipped_update_is_not_audited() -> None:
    class Skips(Callback[Run]):
        def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
            run.skip_step("no")

    audit = StepAudit("1 step")

    fitted(Skips(), audit)

    assert audit.audited == 0


def test_values_logged_in_a_repeat_are_dropped() -> None:
    class Logs(Trainer):
        def training_step(self, run: Any, batch: Any) -> Any:
            run.log("train/calls", 1.0, weight=1.0)
            return super().training_step(run, batch)

    weights: list[float] = []

    class Counts(Callback[Run]):
        def on_step_end(self, run: Run) -> None:
            weights.append(run.progress.batches_completed)

    task = tiny_regression()
    trainer = Logs(
        task.model,
        loss=task.loss,
        optimizer=task.optimizer,
        callbacks=[StepAudit("1 step"), Counts()],
        defaults=False,
        seed=0,
    )
    result = trainer.fit(task.train, epochs=1)

    assert (result.history.latest("train/calls"), weights) == (1.0, [1, 2, 3])


def test_optimization_by_hand_is_refused() -> None:
    class ByHand(Trainer):
        manual_optimization = True

        def training_step(self, run: Any, batch: Any) -> Tensor:
            loss: Tensor = (run.model(batch[0]) - batch[1]).square().mean()
            self.optimize(loss, run.optimizer)
            return loss.detach()

    task = tiny_regression()
    trainer = ByHand(
        task.model,
        optimizer=task.optimizer,
        callbacks=[StepAudit()],
        defaults=False,
        settings=Settings(directory="runs"),
    )
    with pytest.raises(UsageError, match="they optimize by hand"):
        trainer.fit(task.train, epochs=1)


def test_batches_that_may_be_halved_are_refused() -> None:
    task = tiny_regression()
    trainer = Trainer(
        task.model,
        loss=task.loss,
        optimizer=task.optimizer,
        callbacks=[StepAudit()],
        defaults=False,
        settings=Settings(directory="runs", device="cpu", halve_batches_to=1),
    )
    with pytest.raises(UsageError, match="batches are halved"):
        trainer.fit(task.train, epochs=1)


def test_a_closure_is_refused() -> None:
    class Closes(Trainer):
        def optimizer_step(self, run: Any, optimizer: Optimizer) -> None:
            optimizer.step(lambda: 0.0)

    task = tiny_regression()
    trainer = Closes(
        task.model,
        loss=task.loss,
        optimizer=lambda p: LBFGS(p, lr=0.1),
        callbacks=[StepAudit("1 step")],
        defaults=False,
    )
    with pytest.raises(UsageError, match="a closure can't be repeated"):
        trainer.fit(task.train, epochs=1)


def test_a_policy_that_is_not_one_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no policy 'stopp'"):
        StepAudit(policy="stopp")  # type: ignore[arg-type]


def test_two_optimizers_are_audited_both() -> None:
    class Two(Trainer):
        def configure_optimizers(self, run: Any) -> Any:
            first, second = run.model
            return {
                "first": SGD(first.parameters(), lr=0.1, momentum=0.9),
                "second": SGD(second.parameters(), lr=0.1),
            }

    audit, task = StepAudit("1 step"), tiny_regression()
    trainer = Two(
        nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)),
        loss=task.loss,
        callbacks=[audit],
        defaults=False,
    )
    trainer.fit(task.train, epochs=1)

    assert (audit.audited, audit.findings) == (3, [])
