"""Evaluations that the loop makes itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.by_hand.loops import parts
from trackside import Callback, UsageError
from trackside.callbacks import EMA


def test_means_are_weighted_by_samples_and_recorded_by_name() -> None:
    made = parts()

    with made.attach() as run:
        run.epochs(1)
        with run.evaluating("val") as evaluation:
            for batch in evaluation.batches(made.loader):
                evaluation.batch_done(torch.tensor(float(len(batch[0]))), size=len(batch[0]))

    assert evaluation.metrics == {
        "val/loss": pytest.approx((5 * 16 + 4) / 22),
        "val/size": pytest.approx((5 * 16 + 4) / 22),
    }
    assert run.history.latest("val/size") == evaluation.metrics["val/size"]


def test_models_evaluate_inside_and_are_as_before_afterwards() -> None:
    made, seen = parts(), []

    with made.attach() as run:
        run.epochs(1)
        with run.evaluating("val") as evaluation:
            for batch in evaluation.batches(made.loader):
                seen.append((made.model.training, torch.is_grad_enabled()))
                evaluation.batch_done(made.loss_of(batch))

    assert set(seen) == {(False, False)}
    assert made.model.training
    assert torch.is_grad_enabled()


def test_averaged_weights_stand_in_the_model_inside() -> None:
    made, seen = parts(), []

    with made.attach(EMA(0.5)) as run:
        for _ in run.epochs(1):
            for batch in run.batches():
                loss = made.loss_of(batch)
                loss.backward()
                made.update()
                run.step_done(loss)
            own = made.model[0].weight.clone()  # type: ignore[index]
            with run.evaluating("val") as evaluation:
                for batch in evaluation.batches(made.loader):
                    seen.append(made.model[0].weight.clone())  # type: ignore[index]
                    evaluation.batch_done(made.loss_of(batch))
            seen.append(made.model[0].weight.clone())  # type: ignore[index]

    assert not torch.equal(seen[0], own)
    assert torch.equal(seen[-1], own)


def test_its_values_are_among_those_of_the_epoch() -> None:
    made, seen = parts(), []

    class Sees(Callback[Any]):
        def on_epoch_end(self, run: Any, metrics: dict[str, float]) -> None:
            seen.append(sorted(metrics))

    with made.attach(Sees()) as run:
        for _ in run.epochs(1):
            for batch in run.batches():
                run.step_done(made.loss_of(batch))
            with run.evaluating("val") as evaluation:
                for batch in evaluation.batches(made.loader):
                    evaluation.batch_done(made.loss_of(batch))

    assert seen == [["train/loss", "val/loss"]]


def test_an_error_inside_leaves_no_evaluation_under_way() -> None:
    made, during = parts(), []

    class Sees(Callback[Any]):
        def on_exception(self, run: Any, error: BaseException) -> None:
            during.append(run.evaluation)

    with pytest.raises(ValueError, match="mine"), made.attach(Sees()) as run:
        run.epochs(1)
        with run.evaluating("val"):
            raise ValueError("mine")

    assert during == [None]
    assert made.model.training


def test_a_batch_of_which_nothing_is_told_is_refused() -> None:
    made = parts()

    with pytest.raises(UsageError, match="not reported"), made.attach() as run:
        run.epochs(1)
        with run.evaluating("val") as evaluation:
            for _ in evaluation.batches(made.loader):
                pass


def test_an_evaluation_without_a_batch_is_refused() -> None:
    with pytest.raises(UsageError, match="had no batch"), parts().attach() as run:
        run.epochs(1)
        with run.evaluating("val"):
            pass
