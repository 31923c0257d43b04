from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import trackside
from tests.proof import planting, programs
from trackside import Program, Run, Trainer
from trackside.cli.main import run as command
from trackside.errors import UsageError
from trackside.proof.weighing import Weigher
from trackside.testing import tiny_classification


@pytest.mark.parametrize("kind", planting.KINDS)
def test_a_planted_sample_is_ranked_first_and_training_goes_better_without(
    kind: Any, tmp_path: Path
) -> None:
    planting.planted(str(tmp_path), "digits", kind, 1, steps=160).fit()
    planted = planting.plant("digits", kind, 1, steps=160)
    found = trackside.blame(tmp_path, planted.step)
    assert found.first.index == planted.index
    assert found.losses_without[planted.step] < found.losses[planted.step]
    assert list(found.losses) == [planted.step + n for n in range(4)]
    assert found.losses != found.losses_without


def with_nan(directory: Path, *, loss: Any = None) -> Program:
    """Eight steps of batches with batch norm, and a NaN in sample 21."""
    inputs, target = programs.points(64, 0).tensors
    inputs = inputs.clone()
    inputs[21, 2] = float("nan")
    options = {} if loss is None else {"loss": loss}
    trainer = programs.made(str(directory), every="1 step", **options)
    return Program(trainer, TensorDataset(inputs, target), options={"steps": 8, "batch_size": 8})


def step_of(sample: int, directory: Path) -> int:
    """The step of the first epoch that has the sample."""
    plain = Program(
        programs.made(str(directory / "plain")),
        programs.points(64, 0),
        options={"steps": 8, "batch_size": 8},
    )
    plain.fit()
    for step in range(1, 9):
        again = programs.classes(str(directory / "plain"), epochs=1)
        [one] = trackside.replay(directory / "plain", step, program=again).observation.batches
        if sample in one.batch.samples:
            return step
    raise AssertionError(sample)


def test_the_sample_behind_a_nan_is_found_where_batch_norm_spreads_it(tmp_path: Path) -> None:
    step = step_of(21, tmp_path)
    with pytest.raises(trackside.NonFiniteError):
        with_nan(tmp_path / "run").fit()
    found = trackside.blame(tmp_path / "run", step, program=lambda: with_nan(tmp_path / "run"))
    assert found.first.index == 21
    assert found.weighed == "alone"
    assert math.isnan(found.losses[step])
    assert math.isfinite(found.losses_without[step])


def test_a_loss_that_shows_no_single_sample_is_asked_for_each_by_itself(tmp_path: Path) -> None:
    plain = nn.CrossEntropyLoss()

    def made() -> Program:
        again = programs.classes(str(tmp_path))
        again.trainer.loss = lambda prediction, target: plain(prediction, target)
        return again

    made().fit()
    found = trackside.blame(tmp_path, 12, program=made)
    assert found.weighed == "alone"
    assert len(found.samples) == 8


def test_weighing_leaves_the_step_as_it_was(tmp_path: Path) -> None:
    programs.noisy(str(tmp_path)).fit()
    found = trackside.blame(tmp_path, 12)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    recorded = {r["step"]: r["train_recent/loss"] for r in rows if "train_recent/loss" in r}
    assert found.losses == {step: recorded[step] for step in (12, 13, 14, 15)}


def test_weighing_each_step_leaves_weights_and_buffers_as_they_were() -> None:
    plain, weighed = tiny_classification(), tiny_classification()
    plain.trainer().fit(plain.train, epochs=2)
    weighed.trainer(callbacks=[Weigher()]).fit(weighed.train, epochs=2)
    assert torch.equal(plain.weights, weighed.weights)


def test_losses_and_gradients_of_samples_add_up_to_those_of_the_step(tmp_path: Path) -> None:
    programs.classes(str(tmp_path)).fit()
    found = trackside.blame(tmp_path, 12)
    mean = sum(one.loss for one in found.samples) / 8
    assert mean == pytest.approx(found.losses[12], rel=1e-6)
    assert all(one.gradient_norm > 0 for one in found.samples)


def test_a_trainer_that_optimizes_by_hand_is_refused(tmp_path: Path) -> None:
    class ByHand(Trainer):
        manual_optimization = True

        def training_step(self, run: Run, batch: Any) -> Any:
            inputs, target = batch
            loss = nn.functional.cross_entropy(run.model(inputs), target)
            self.optimize(loss, run.optimizer)
            return loss.detach()

    def made() -> Program:
        plain = programs.made(str(tmp_path))
        trainer = ByHand(
            programs.network,
            optimizer=lambda p: torch.optim.SGD(p, lr=0.05),
            callbacks=dict(plain.callbacks.items()),
            settings=plain.settings,
            defaults=False,
            seed=0,
        )
        return Program(trainer, programs.points(64, 0), options={"steps": 10, "batch_size": 8})

    made().fit()
    with pytest.raises(UsageError, match="by hand"):
        trackside.blame(tmp_path, 9, program=made)


def test_the_command_lists_samples_and_losses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    programs.classes(str(tmp_path)).fit()
    assert command(["blame", str(tmp_path), "--step", "12"]) == 0
    said = capsys.readouterr().out
    assert "step 12: 8 samples, weighed in the step" in said
    assert "without sample " in said
    assert command(["blame", str(tmp_path), "--step", "12", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["samples"]) == 8
    assert command(["blame", str(tmp_path), "--step", "3"]) == 2
    assert "--yes" in capsys.readouterr().err
