"""Unfreeze keeps layers from learning until their time, and a resumed run exact."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from tests.callbacks.broken_runs import check_resumes_exactly
from trackside import Callback, Scheduler, Settings, Trainer
from trackside.callbacks.scheduling.unfreeze import Unfreeze
from trackside.errors import ConfigurationError, ScheduleError
from trackside.run import Run
from trackside.testing import tiny_classification


class Changes(Callback):
    """Which parts of the state change in each step."""

    def __init__(self) -> None:
        self.seen: list[set[str]] = []
        self._before: dict[str, Tensor] = {}

    def on_step_start(self, run: Run) -> None:
        self._before = {name: t.clone() for name, t in run.model.state_dict().items()}

    def on_step_end(self, run: Run) -> None:
        after = run.model.state_dict()
        moved = {name for name, t in after.items() if not torch.equal(t, self._before[name])}
        self.seen.append({name.partition(".")[0] for name in moved})


def changes(unfreeze: Unfreeze, *callbacks: Callback, **options: Any) -> list[set[str]]:
    task, seen = tiny_classification(), Changes()
    trainer = task.trainer(callbacks=[unfreeze, *callbacks, seen], **options)
    trainer.fit(task.train, task.validation, epochs=2)
    return seen.seen


def test_a_group_learns_from_its_epoch_on() -> None:
    found = changes(Unfreeze({"0": "1 epoch", "1": "1 epoch"}))

    assert found == [{"4"}] * 3 + [{"0", "1", "4"}] * 3


def test_a_group_learns_from_its_step_on_or_never() -> None:
    found = changes(Unfreeze({"0": "2 steps", "1": None}))

    assert found == [{"4"}] * 2 + [{"0", "4"}] * 4


def test_frozen_batch_norm_can_go_on_measuring() -> None:
    found = changes(Unfreeze({"1": None}, batch_norm="train"))

    assert found == [{"0", "1", "4"}] * 6


def test_an_evaluation_does_not_wake_a_frozen_batch_norm() -> None:
    task, modes = tiny_classification(), []

    class Modes(Callback):
        def on_step_end(self, run: Run) -> None:
            modes.append(run.model[1].training)  # type: ignore[index]

    trainer = task.trainer(callbacks=[Unfreeze({"1": "2 epochs"}), Modes()])
    trainer.fit(task.train, task.validation, epochs=3, evaluate_every="1 step")

    assert modes == [False] * 6 + [True] * 3


def test_groups_have_learning_rates_of_their_own_which_a_scheduler_moves() -> None:
    rates: list[list[float]] = []

    class Rates(Callback):
        def on_optimizer_step_start(self, run: Run, optimizer: Any) -> None:
            rates.append([group["lr"] for group in optimizer.param_groups])

    factors = {"0": 0.1, "1": 0.5}
    unfreeze = Unfreeze({"0": "1 epoch", "1": "1 epoch"}, lr_factor=factors)
    changes(unfreeze, Rates(), scheduler=Scheduler(lambda o: StepLR(o, 1, gamma=0.1)))

    assert rates[0] == pytest.approx([0.01, 0.001, 0.005])
    assert rates[-1] == pytest.approx([0.001, 0.0001, 0.0005])


def test_the_number_of_trainable_parameters_is_recorded() -> None:
    task = tiny_classification()
    trainer = task.trainer(callbacks=[Unfreeze({"0": "1 epoch"})])
    history = trainer.fit(task.train, epochs=2).history

    whole = sum(p.numel() for p in task.model.parameters())
    assert history.values("parameter/trainable") == [whole - 40, whole]


def test_after_the_run_everything_can_learn_again() -> None:
    task = tiny_classification()
    trainer = task.trainer(callbacks=[Unfreeze({"0": None, "1": None})])
    trainer.fit(task.train, steps=1)

    assert all(p.requires_grad for p in task.model.parameters())
    assert all(m.training for m in task.model.modules())


def test_what_was_frozen_before_is_frozen_afterwards_and_learns_meanwhile() -> None:
    task, seen = tiny_classification(), Changes()
    for parameter in task.model[0].parameters():  # type: ignore[index]
        parameter.requires_grad_(False)
    trainer = task.trainer(callbacks=[Unfreeze({"0": "1 step"}), seen])
    trainer.fit(task.train, steps=2)

    assert seen.seen == [{"1", "4"}, {"0", "1", "4"}]
    assert not any(p.requires_grad for p in task.model[0].parameters())  # type: ignore[index]


def test_a_model_that_has_learnt_nothing_frozen_equals_one_with_an_optimizer_for_the_rest() -> None:
    frozen, plain = tiny_classification(), tiny_classification()
    frozen.trainer(callbacks=[Unfreeze({"0": None})]).fit(frozen.train, epochs=2)
    head = [p for name, p in plain.model.named_parameters() if not name.startswith("0.")]
    plain.trainer(optimizer=lambda _: plain.optimizer(head)).fit(plain.train, epochs=2)

    assert torch.equal(frozen.weights, plain.weights)


def test_gradients_that_other_ranks_expect_are_dropped_with_the_same_result() -> None:
    class OfTwo(Callback):
        """Lets `Unfreeze` believe that there are two ranks."""

        runs_after = (Unfreeze,)

        def on_optimizers_ready(self, run: Run) -> None:
            run.callbacks[Unfreeze]._drops_gradients = True

    def weights(*callbacks: Callback) -> Tensor:
        task = tiny_classification()
        unfreeze = Unfreeze({"0": "1 epoch"}, batch_norm="train")
        trainer = task.trainer(callbacks=[unfreeze, *callbacks], accumulate=2, clip=0.1)
        trainer.fit(task.train, epochs=2)
        return task.weights

    assert torch.equal(weights(OfTwo()), weights())


def test_a_resumed_run_is_exact_before_at_and_after_each_unfreezing() -> None:
    def make(more: list[Callback]) -> Trainer:
        unfreeze = Unfreeze({"0": "4 steps", "1": "1 epoch"}, lr_factor=0.1)
        return tiny_classification().trainer(
            callbacks=[unfreeze, *more],
            scheduler=Scheduler(lambda o: StepLR(o, 2), interval="step"),
            settings=Settings(log_every="1 step"),
        )

    task = tiny_classification()
    check_resumes_exactly(make, lambda t: t.fit(task.train, task.validation, epochs=3))


def test_optimizers_keep_their_own_parameters() -> None:
    class Two(Trainer):
        def configure_model(self, run: Any) -> Any:
            return {"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)}

        def configure_optimizers(self, run: Any) -> Any:
            return {n: torch.optim.SGD(m.parameters(), lr=0.1) for n, m in run.models.items()}

        def training_step(self, run: Any, batch: Any) -> Any:
            inputs, target = batch
            return self.loss(run.models["a"](inputs) + run.models["b"](inputs), target)  # type: ignore[misc]

    task = tiny_classification()
    trainer = Two(loss=task.loss, callbacks=[Unfreeze({"a.weight": "1 step"})], defaults=False)
    groups: list[list[int]] = []

    class Groups(Callback):
        def on_fit_start(self, run: Run) -> None:
            groups.extend(
                [len(group["params"]) for group in optimizer.param_groups]
                for optimizer in run.optimizers.values()
            )

    trainer.callbacks.append(Groups())
    trainer.fit(task.train, steps=2)

    assert groups == [[1, 1], [2]]


@pytest.mark.parametrize(
    "options",
    [
        {"groups": {}},
        {"groups": {"0": None}, "batch_norm": "off"},
        {"groups": {"0": None}, "lr_factor": -0.5},
        {"groups": {"0": None}, "lr_factor": {"0": float("nan")}},
        {"groups": {"0": None}, "lr_factor": {"1": 0.1}},
    ],
    ids=str,
)
def test_options_that_mean_nothing_are_refused(options: Any) -> None:
    with pytest.raises(ConfigurationError):
        Unfreeze(**options)


def test_a_time_by_the_clock_is_refused() -> None:
    with pytest.raises(ScheduleError, match="by the clock"):
        Unfreeze({"0": "10 minutes"})


def test_a_pattern_without_parameters_is_refused_before_the_first_step() -> None:
    with pytest.raises(ConfigurationError, match="no parameter is left"):
        changes(Unfreeze({"encoder": "1 epoch"}))
