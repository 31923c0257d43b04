from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from trackside import Output, Settings, Trainer
from trackside.callbacks import Checkpoint
from trackside.callbacks.stopping.loss_spikes import LossSpikes
from trackside.callbacks.stopping.robust import deviations_above
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.testing import tiny_regression
from trackside.trainer.settings import Result

SPIKE = 7
"""The step, from 1, whose first batch is bad."""


class Bad(Trainer):
    """Its loss is greater by a thousand on the batches of some steps."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.losses: list[float] = []
        self.bad = {SPIKE}

    def training_step(self, run: Run, batch: Any) -> Output:
        output = super().training_step(run, batch)
        assert isinstance(output, Output)
        step = run.progress.steps_completed + 1
        if step in self.bad and all(back.from_step != step for back in run.rollbacks):
            output = output._replace(loss=output.loss + 1000)
        self.losses.append(float(output.loss.detach()))
        return output


def trainer(
    watch: Callback | None, *others: Callback, kind: type[Bad] = Bad, **options: Any
) -> Bad:
    task = tiny_regression(samples=12)
    own: dict[str, Any] = {"loss": task.loss, "optimizer": task.optimizer, "defaults": False}
    callbacks = [*others, *([watch] if watch is not None else [])]
    return kind(task.model, callbacks=callbacks, seed=0, **{**own, **options})


def fit(made: Bad, **limit: Any) -> Result:
    return made.fit(tiny_regression(samples=12).train, **{"steps": 12, **limit})


def weights(made: Bad) -> torch.Tensor:
    """Its weights after training."""
    assert isinstance(made.model, torch.nn.Module)
    return torch.cat([p.detach().flatten() for p in made.model.parameters()])


WATCH: dict[str, Any] = {"window": 6, "min_steps": 4, "threshold": 20}


def test_a_warning_names_step_loss_and_deviations(caplog: pytest.LogCaptureFixture) -> None:
    made = trainer(LossSpikes(**WATCH))
    with caplog.at_level(logging.WARNING):
        fit(made)

    before = made.losses[:6]
    above = deviations_above(made.losses[6], before)
    assert above > 20
    text = f"the loss of step 7 is {made.losses[6]:.6g}, {above:.3g} robust deviations above"
    assert text in caplog.text
    assert caplog.text.count("robust deviations") == 1


def test_a_warning_leaves_the_weights_as_they_are_without_it() -> None:
    watched, plain = trainer(LossSpikes(**WATCH)), trainer(None)
    fit(watched)
    fit(plain)

    assert torch.equal(weights(watched), weights(plain))


def test_a_skipped_spike_makes_no_update() -> None:
    made = trainer(LossSpikes("skip", **WATCH))
    result = fit(made, steps=7)
    before = trainer(None)
    fit(before, steps=6)

    assert torch.equal(weights(made), weights(before))
    assert [one.step for one in result.skipped_steps] == [7]


def test_a_lowered_rate_is_used_from_the_update_of_the_spike_on() -> None:
    class Rates(Callback):
        runs_after = ("loss_spikes",)

        def __init__(self) -> None:
            self.used: list[float] = []

        def on_optimizer_step_start(self, run: Run, optimizer: torch.optim.Optimizer) -> None:
            self.used.append(optimizer.param_groups[0]["lr"])

    rates = Rates()
    result = fit(trainer(LossSpikes("lower_rate", factor=0.25, **WATCH), rates), steps=9)

    assert rates.used == [0.1] * 6 + [0.025] * 3
    assert result.history.values("spikes/rate_factor")[-1:] in ([], [0.25])


def test_between_steps_optimizers_have_the_rate_of_their_schedule() -> None:
    class After(Callback):
        def __init__(self) -> None:
            self.rates: set[float] = set()

        def on_step_end(self, run: Run) -> None:
            self.rates |= {group["lr"] for group in run.optimizer.param_groups}

    after = After()
    fit(trainer(LossSpikes("lower_rate", **WATCH), after))

    assert after.rates == {0.1}


def test_after_a_rollback_the_batches_of_the_spike_are_left_out(tmp_path: Path) -> None:
    made = trainer(
        LossSpikes("roll_back", **WATCH),
        Checkpoint("2 steps"),
        settings=Settings(directory=tmp_path / "run"),
    )
    result = fit(made)

    (back,) = result.rollbacks
    assert (back.from_step, back.to_step, back.asked_by) == (7, 6, "loss_spikes")
    assert [(one.epoch, one.number) for one in back.left_out] == [(2, 0)]
    assert result.outcome.status == "completed"


@pytest.mark.parametrize("policy", ["warn", "skip", "lower_rate", "roll_back"])
def test_a_run_with_more_spikes_than_it_takes_ends(policy: Any) -> None:
    watch = LossSpikes(policy, max_spikes=1, **WATCH)
    made = trainer(watch, Checkpoint("1 step"), settings=Settings(log_every="1 step"))
    made.bad = {7, 9}
    result = fit(made)
    outcome, last = result.outcome, 8 if policy == "roll_back" else 9

    assert (outcome.status, outcome.step, outcome.asked_by) == ("diverged", last, "loss_spikes")
    assert outcome.reason.endswith("it is spike 2 of at most 1")
    assert max(result.history.values("spikes/found")) == (1.0 if policy == "roll_back" else 2.0)


def test_a_resumed_run_decides_as_an_unbroken_one(tmp_path: Path) -> None:
    def made(folder: str) -> Bad:
        settings = Settings(directory=tmp_path / folder)
        watch = LossSpikes("lower_rate", **WATCH)
        return trainer(watch, Checkpoint("1 step"), settings=settings)

    whole = made("whole")
    fit(whole)
    for steps in (6, 8, 12):
        broken = made("broken")
        fit(broken, steps=steps, resume="auto")

    assert torch.equal(weights(broken), weights(whole))
    assert (
        broken.callbacks["loss_spikes"].state_dict() == whole.callbacks["loss_spikes"].state_dict()
    )


def test_a_step_of_several_batches_is_judged_by_its_mean() -> None:
    watch = LossSpikes(window=10, min_steps=10)
    made = trainer(watch, accumulate=2)
    made.bad = set()
    fit(made, steps=2)

    first, second, third = made.losses[:3]
    assert watch.state_dict()["losses"] == pytest.approx([(first + second) / 2, third])


def test_its_batches_weigh_what_the_step_returns_as_their_weight() -> None:
    class Heavier(Bad):
        def training_step(self, run: Run, batch: Any) -> Output:
            output = super().training_step(run, batch)
            return output._replace(weight=float(len(self.losses)))

    watch = LossSpikes(window=10, min_steps=10)
    made = trainer(watch, kind=Heavier, accumulate=3)
    made.bad = set()
    fit(made, steps=1)

    first, second, third = made.losses
    mean = (first + 2 * second + 3 * third) / 6
    assert watch.state_dict()["losses"] == pytest.approx([mean])


@pytest.mark.parametrize(
    "options",
    [
        {"policy": "ignore"},
        {"threshold": 0},
        {"factor": 1.0},
        {"window": 1},
        {"window": 4, "min_steps": 5},
        {"max_spikes": -1},
    ],
)
def test_an_option_out_of_its_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        LossSpikes(**options)


def test_a_rollback_without_a_callback_that_saves_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="nothing to roll back to"):
        fit(trainer(LossSpikes("roll_back")))
