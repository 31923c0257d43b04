"""A run that is led by another trainer: here by a few lines that speak as one does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from trackside import Callback, RunLimit, UsageError
from trackside.callbacks import (
    EMA,
    AccumulationSchedule,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    TerminateOnNonFinite,
)
from trackside.guests import Guest
from trackside.guests.guest import OF_TRAINING
from trackside.testing import Recorder, check_grammar


class Trainer:
    """A trainer of somebody else: ten samples in batches of four, evaluated after each epoch."""

    def __init__(self, guest: Guest, epochs: int = 3) -> None:
        self.guest, self.epochs = guest, epochs
        torch.manual_seed(0)
        self.model = nn.Linear(2, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)
        inputs = torch.randn(10, 2)
        self.loader = DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=4)
        self.losses: list[float] = []

    def loss_of(self, batch: Any) -> Tensor:
        inputs, target = batch
        return ((self.model(inputs) - target) ** 2).mean()

    def train(self) -> None:
        guest = self.guest
        guest.attach(self.model)
        guest.begin({"optimizer": self.optimizer}, self.loader, RunLimit(self.epochs, None))
        for _ in range(self.epochs):
            guest.epoch_start()
            for number, batch in enumerate(self.loader):
                guest.batch_start(batch, number)
                loss = self.loss_of(batch)
                loss.backward()
                assert guest.engine is not None
                guest.engine.before_update(self.optimizer)
                self.optimizer.step()
                guest.engine.after_update(self.optimizer)
                self.optimizer.zero_grad()
                guest.step_end(loss)
                if guest.stopping:
                    break
            guest.pass_end()
            guest.evaluation_start()
            self.losses.append(float(self.loss_of(self.loader.dataset[:]).detach()))
            guest.evaluation_end({"val_loss": self.losses[-1]})
            if not guest.stopping:
                guest.epoch_end()
            if guest.stopping:
                break
        guest.finish()


def guest_of(*callbacks: Any, without: str = "_backward_|_zero_grad_", **options: Any) -> Guest:
    lost = {name for name in OF_TRAINING if any(part in name for part in without.split("|"))}
    own: dict[str, Any] = {"directory": "run", "log_every": "2 steps"}
    return Guest("the host", callbacks, fired=OF_TRAINING - lost, **{**own, **options})


def test_the_hooks_of_a_guest_follow_the_grammar() -> None:
    recorder = Recorder()

    Trainer(guest_of(recorder)).train()

    check_grammar(recorder.events)
    names = recorder.names
    assert names.count("on_step_end") == 9
    assert names.count("on_evaluation_end") == names.count("on_epoch_end") == 3
    assert names[-1] == "on_close"


def test_values_of_the_trainer_are_records_and_metrics() -> None:
    trainer = Trainer(guest_of(CSVLogger()))

    trainer.train()

    run = trainer.guest.run
    assert run.history.values("val/loss") == trainer.losses
    assert len(run.history.values("train/loss")) == 3
    assert Path("run/history.csv").is_file()
    assert str(run.outcome) == "completed at step 9: the host ended training"


def test_the_weights_are_those_without_guests() -> None:
    with_guest, without = Trainer(guest_of(CSVLogger(), EMA(0.9))), Trainer(guest_of())

    with_guest.train()
    without.train()

    assert torch.equal(with_guest.model.weight, without.model.weight)


def test_a_stop_reaches_the_trainer_and_the_outcome() -> None:
    trainer = Trainer(guest_of(EarlyStopping("val/loss", patience=1, min_delta=100.0)), epochs=9)

    trainer.train()

    assert trainer.guest.run.outcome is not None
    assert trainer.guest.run.outcome.asked_by == "early_stopping"
    assert len(trainer.losses) == 2


def test_averages_stand_in_the_model_during_an_evaluation_and_not_after_it() -> None:
    plain, averaged = Trainer(guest_of()), Trainer(guest_of(EMA(0.99, warm_up=False)))

    plain.train()
    averaged.train()

    assert averaged.losses[0] > plain.losses[0]
    assert torch.equal(averaged.model.weight, plain.model.weight)


def test_the_guard_leaves_an_update_out_and_stops() -> None:
    trainer = Trainer(guest_of(TerminateOnNonFinite(gradients=True)))
    before = trainer.model.weight.clone()
    trainer.loss_of = lambda batch: trainer.model(batch[0]).mean() * float("nan")  # type: ignore[method-assign]

    trainer.train()

    assert torch.equal(trainer.model.weight, before)
    assert trainer.guest.run.outcome is not None
    assert trainer.guest.run.outcome.status.value == "diverged"
    assert trainer.guest.run.progress.steps_completed == 1


def test_a_block_closes_what_a_trainer_has_left_open() -> None:
    closed: list[Any] = []

    class Sees(Callback[Any]):
        def on_close(self, run: Any, outcome: Any) -> None:
            closed.append(outcome)

    with pytest.raises(ValueError, match="theirs"), guest_of(Sees()) as guest:
        guest.attach(nn.Linear(1, 1))
        raise ValueError("theirs")

    assert [str(one) for one in closed] == ["failed at step 0: ValueError: theirs"]


def test_a_block_that_ends_before_the_trainer_has_said_so_closes_as_failed() -> None:
    closed: list[str] = []

    class Sees(Callback[Any]):
        def on_close(self, run: Any, outcome: Any) -> None:
            closed.append(str(outcome))

    with guest_of(Sees()) as guest:
        guest.attach(nn.Linear(1, 1))

    assert len(closed) == 1
    assert "has not said how its training ended" in closed[0]


def test_a_second_training_closes_the_first() -> None:
    outcomes: list[Any] = []

    class Sees(Callback[Any]):
        def on_close(self, run: Any, outcome: Any) -> None:
            outcomes.append(outcome.status.value)

    guest = guest_of(Sees())
    guest.attach(nn.Linear(1, 1))
    Trainer(guest).train()

    assert outcomes == ["failed", "completed"]


def test_a_callback_that_saves_the_run_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match=r"trackside\.resume"):
        guest_of(Checkpoint())


def test_a_callback_that_needs_what_the_trainer_cannot_fire_is_refused() -> None:
    trainer = Trainer(guest_of(TerminateOnNonFinite()))

    with pytest.raises(UsageError, match="on_backward_start"):
        trainer.train()


def test_hooks_that_an_observer_misses_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "trackside"):
        Trainer(guest_of(Recorder())).train()

    assert "the host can't fire on_backward_end, on_backward_start" in caplog.text


def test_another_batch_than_the_trainer_s_is_refused() -> None:
    class Replaces(Callback[Any]):
        def on_batch_start(self, run: Any, batch: Any) -> Any:
            return [2 * part for part in batch]

    with pytest.raises(UsageError, match="replaces the batch"):
        Trainer(guest_of(Replaces())).train()


def test_a_change_of_the_batches_of_a_step_is_refused() -> None:
    with pytest.raises(UsageError, match="accumulation_schedule"):
        Trainer(guest_of(AccumulationSchedule({0: 2}))).train()


def test_a_return_to_a_checkpoint_is_refused() -> None:
    class GoesBack(Callback[Any]):
        def on_step_end(self, run: Any) -> None:
            run.roll_back("again")

    trainer = Trainer(guest_of(GoesBack()))
    with pytest.raises(UsageError, match="go back"):
        trainer.train()

    assert trainer.losses == []


def test_the_end_of_an_epoch_of_the_host_is_refused() -> None:
    class Ends(Callback[Any]):
        def on_step_end(self, run: Any) -> None:
            run.end_epoch("enough")

    with pytest.raises(UsageError, match="asks for the end of the epoch, and the data is"):
        Trainer(guest_of(Ends())).train()


class Lends(Callback[Any]):
    """Puts something in for each evaluation, which is put back as it ends."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.metrics: list[dict[str, float]] = []

    def on_evaluation_start(self, run: Any, evaluation: Any) -> None:
        self.log.append("put in")
        evaluation.exits.callback(self.log.append, "put back")

    def on_epoch_end(self, run: Any, metrics: dict[str, float]) -> None:
        self.log.append("epoch")
        self.metrics.append(metrics)


def test_what_is_put_in_for_an_evaluation_is_put_back_as_it_ends() -> None:
    lends = Lends()

    Trainer(guest_of(lends), epochs=1).train()

    assert lends.log == ["put in", "put back", "epoch"]
    assert sorted(lends.metrics[0]) == ["train/loss", "val/loss"]


def test_what_is_put_in_is_put_back_where_an_error_leaves_the_evaluation() -> None:
    lends = Lends()
    trainer = Trainer(guest_of(lends))

    def breaks(batch: Any) -> Any:
        if lends.log:
            raise ValueError("theirs")
        return trainer.model(batch[0]).mean()

    trainer.loss_of = breaks  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="theirs"), trainer.guest:
        trainer.train()

    assert lends.log == ["put in", "put back"]
