"""EMA averages exactly, is used in evaluations, and leaves training as it was."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.callbacks.broken_runs import check_resumes_exactly
from tests.device import DEVICE
from trackside import Callback, Status, StopTraining, Trainer
from trackside.callbacks.averaging.ema import EMA
from trackside.callbacks.saving.best_checkpoint import BestCheckpoint
from trackside.callbacks.stopping.early_stopping import EarlyStopping
from trackside.errors import CheckpointError, ConfigurationError, Terminated
from trackside.run import Run
from trackside.testing import tiny_classification, tiny_regression


class Weights(Callback):
    """Keeps a copy of the weights after each step."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []
        self.evaluated: list[Tensor] = []

    def on_fit_start(self, run: Run) -> None:
        self.seen.append(flat(run.model))

    def on_step_end(self, run: Run) -> None:
        self.seen.append(flat(run.model))

    def on_evaluation_batch_end(self, run: Run, evaluation: Any, batch: Any, output: Any) -> None:
        self.evaluated.append(flat(run.model))


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).clone()


def flat_average(ema: EMA, decay: float | None = None) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in ema.weights(decay).values()])


def run_with(ema: EMA, **limits: Any) -> Weights:
    task, weights = tiny_regression(), Weights()
    task.trainer(callbacks=[ema, weights]).fit(
        task.train, task.validation, **(limits or {"epochs": 2})
    )
    return weights


def test_the_average_is_the_recurrence_computed_by_hand() -> None:
    ema = EMA(decay=[0.9, 0.5], warm_up=False)
    seen = run_with(ema).seen

    for decay in (0.9, 0.5):
        average = seen[0].double()
        for weights in seen[1:]:
            average = decay * average + (1 - decay) * weights.double()
        assert torch.allclose(flat_average(ema, decay).double(), average, atol=1e-6)


def test_a_warm_up_gives_early_weights_less_to_say() -> None:
    ema = EMA(decay=0.9, warm_up=True)
    seen = run_with(ema).seen

    average = seen[0].double()
    for n, weights in enumerate(seen[1:]):
        decay = min(0.9, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * weights.double()
    assert torch.allclose(flat_average(ema).double(), average, atol=1e-6)


def test_it_updates_every_so_many_steps_from_the_start_on() -> None:
    ema = EMA(decay=0.5, warm_up=False, every="2 steps", start="3 steps")
    seen = run_with(ema, steps=8).seen

    # Due after steps 2, 4, 6, 8; at 4 averaging begins with the weights of that moment.
    expected = 0.5 * (0.5 * seen[4] + 0.5 * seen[6]) + 0.5 * seen[8]
    assert ema.updates == 2
    assert torch.allclose(flat_average(ema), expected, atol=1e-6)


def test_evaluations_see_the_average_and_training_does_not() -> None:
    ema = EMA(decay=0.5)
    with_ema, without = run_with(ema), run_with(EMA(evaluate=False))

    assert all(torch.equal(a, b) for a, b in zip(with_ema.seen, without.seen, strict=True))
    assert torch.equal(with_ema.evaluated[-1], flat_average(ema))
    assert torch.equal(without.evaluated[-1], without.seen[-1])


def test_evaluations_can_use_any_of_the_averages() -> None:
    ema = EMA(decay=[0.9, 0.5], evaluate=0.5)

    assert torch.equal(run_with(ema).evaluated[-1], flat_average(ema, 0.5))


def test_before_averaging_begins_the_weights_are_their_own_averages() -> None:
    ema = EMA(start="9 epochs")
    weights = run_with(ema)

    assert torch.equal(flat_average(ema), weights.seen[-1])


def test_before_averaging_begins_evaluations_see_the_weights() -> None:
    weights = run_with(EMA(start="2 epochs"))

    assert torch.equal(weights.evaluated[0], weights.seen[3])


@pytest.mark.parametrize("start", [None, "1 epoch"])
def test_an_evaluation_after_an_epoch_sees_the_update_of_that_epoch(start: str | None) -> None:
    def losses(every: str) -> list[float]:
        task, ema = tiny_regression(), EMA(0.0, warm_up=False, every=every, start=start)
        result = task.trainer(callbacks=[ema]).fit(task.train, task.validation, epochs=3)
        return result.history.values("val/loss")

    assert losses("1 epoch") == losses("1 step")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, StopTraining])
def test_the_weights_are_back_after_an_error_in_the_middle_of_an_evaluation(
    error: type[BaseException],
) -> None:
    task = tiny_regression()
    at_the_end: list[Tensor] = []

    class Breaking(Callback):
        def on_train_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
            at_the_end[:] = [flat(run.model)]

        def on_evaluation_batch_end(
            self, run: Run, evaluation: Any, batch: Any, output: Any
        ) -> None:
            assert not torch.equal(flat(run.model), at_the_end[0])
            raise error("broken")

        def on_close(self, run: Run, outcome: Any) -> None:
            at_the_end.append(flat(run.model))

    trainer = task.trainer(callbacks=[EMA(decay=0.5), Breaking()])
    if error is StopTraining:
        trainer.fit(task.train, task.validation, epochs=2)
    else:
        with pytest.raises(error, match="broken"):
            trainer.fit(task.train, task.validation, epochs=2)

    assert torch.equal(at_the_end[0], at_the_end[1])


def test_the_weights_are_back_when_a_signal_cuts_an_evaluation_short() -> None:
    task = tiny_regression()

    class Interrupting(Callback):
        def on_train_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
            self.trained = flat(run.model)

        def on_evaluation_batch_start(self, run: Run, evaluation: Any, batch: Any) -> None:
            signal.raise_signal(signal.SIGTERM)

        def on_stop(self, run: Run, reason: str) -> None:
            self.stopped = flat(run.model)

    interrupting = Interrupting()
    trainer = task.trainer(callbacks=[EMA(decay=0.5), interrupting])
    with pytest.raises(Terminated) as told:
        trainer.fit(task.train, task.validation, epochs=2)

    assert told.value.result.outcome.status is Status.INTERRUPTED
    assert torch.equal(interrupting.stopped, interrupting.trained)


def test_running_statistics_are_averaged_or_left_alone() -> None:
    def means(buffers: Any) -> tuple[Tensor, Tensor, Tensor]:
        task = tiny_classification()
        ema = EMA(decay=0.5, warm_up=False, buffers=buffers)
        first = task.model[1].running_mean.clone()  # type: ignore[index]
        task.trainer(callbacks=[ema]).fit(task.train, steps=1)
        live = task.model[1].running_mean  # type: ignore[index]
        return first.to(DEVICE), live, ema.weights()["1.running_mean"]

    first, live, averaged = means("average")
    assert torch.allclose(averaged, (first + live) / 2)
    _, live, left = means("copy")
    assert torch.equal(left, live)


def test_predictions_and_a_later_evaluation_use_the_averages() -> None:
    task, ema, weights = tiny_regression(), EMA(decay=0.5), Weights()
    trainer = task.trainer(callbacks=[ema, weights])
    trainer.fit(task.train, epochs=1)
    trained = flat(task.model)

    trainer.evaluate(task.validation)
    inputs, _ = next(iter(task.validation))
    predictions = trainer.predict(task.validation)

    assert torch.equal(weights.evaluated[-1], flat_average(ema))
    averaged = nn.Linear(2, 1)
    averaged.load_state_dict(ema.weights())
    assert torch.equal(predictions[: len(inputs)], averaged(inputs))
    assert torch.equal(flat(task.model), trained)


@pytest.mark.parametrize("width", [1, 3], ids=["same shapes", "other shapes"])
def test_averages_of_one_model_are_not_put_into_another(width: int) -> None:
    task, ema, weights = tiny_regression(), EMA(decay=0.5), Weights()
    task.trainer(callbacks=[ema]).fit(task.train, epochs=1)

    other = nn.Linear(2, width)
    trainer = Trainer(other, loss=lambda p, _: p.sum(), callbacks=[ema, weights], defaults=False)
    trainer.evaluate(task.validation)
    predicted = trainer.predict(task.validation)

    assert torch.equal(weights.evaluated[-1], flat(other))
    inputs, _ = next(iter(task.validation))
    assert torch.equal(predicted[: len(inputs)], other(inputs))


def test_averages_that_were_loaded_are_used_with_the_model_that_they_fit() -> None:
    task, ema, weights = tiny_regression(), EMA(decay=0.5), Weights()
    task.trainer(callbacks=[ema]).fit(task.train, epochs=1)
    loaded = EMA(decay=0.5)
    loaded.load_state_dict(ema.state_dict())

    tiny_regression().trainer(callbacks=[loaded, weights]).evaluate(task.validation)

    assert torch.equal(weights.evaluated[-1], flat_average(ema))


@pytest.mark.parametrize(
    "restoring", [EarlyStopping(restore_best=True, patience=9), BestCheckpoint(restore=True)]
)
@pytest.mark.parametrize("is_first", [True, False])
def test_best_weights_that_were_restored_are_judged_themselves(
    restoring: Callback, is_first: bool
) -> None:
    class Blow(Callback):
        def on_epoch_start(self, run: Run) -> None:
            if run.progress.epochs_completed == 1:
                run.optimizer.param_groups[0]["lr"] = 0.9

    task, ema = tiny_regression(), EMA(decay=0.5)
    callbacks = [restoring, ema] if is_first else [ema, restoring]
    trainer = task.trainer(callbacks=[*callbacks, Blow()])
    result = trainer.fit(task.train, task.validation, epochs=3)
    best = result.history.best("val/loss")
    assert best is not None
    assert best.value < result.history.values("val/loss")[-1]

    assert trainer.evaluate(task.validation)["test/loss"] == pytest.approx(best.value)
    inputs, _ = next(iter(task.validation))
    predictions = trainer.predict(task.validation)
    assert torch.equal(predictions[: len(inputs)], task.model(inputs))


def test_an_evaluation_that_is_asked_for_at_the_end_sees_restored_weights() -> None:
    class AtEnd(Callback):
        runs_after = ("best_checkpoint",)

        def on_epoch_start(self, run: Run) -> None:
            if run.progress.epochs_completed == 1:
                run.optimizer.param_groups[0]["lr"] = 0.9

        def on_fit_end(self, run: Run) -> None:
            run.evaluate("other")

    task = tiny_regression()
    callbacks = [EMA(decay=0.5), BestCheckpoint(restore=True), AtEnd()]
    result = task.trainer(callbacks=callbacks).fit(
        task.train, task.validation, epochs=3, data={"other": task.validation}
    )

    best = result.history.best("val/loss")
    assert best is not None
    assert result.history.values("other/loss") == pytest.approx([best.value])


def test_weights_that_were_loaded_after_training_are_judged_themselves() -> None:
    task, weights = tiny_regression(), Weights()
    trainer = task.trainer(callbacks=[EMA(decay=0.5), weights])
    trainer.fit(task.train, epochs=1)
    with torch.no_grad():
        task.model.bias.add_(1e-4)  # type: ignore[operator]

    trainer.evaluate(task.validation)

    assert torch.equal(weights.evaluated[-1], flat(task.model))


def test_only_the_models_that_are_named_are_averaged() -> None:
    class Two(Trainer):
        def configure_model(self, run: Any) -> Any:
            return {"model": nn.Linear(2, 1), "other": nn.Linear(2, 1)}

    task, ema = tiny_regression(), EMA(models=["model"])
    trainer = Two(loss=task.loss, optimizer=task.optimizer, callbacks=[ema], defaults=False)
    trainer.fit(task.train, steps=1)

    assert set(ema.state_dict()["averages"]["0.999"]) == {"model.weight", "model.bias"}


def test_a_second_fit_averages_anew() -> None:
    task, ema = tiny_regression(), EMA()
    trainer = task.trainer(callbacks=[ema])
    trainer.fit(task.train, epochs=1)
    trainer.fit(task.train, steps=2)

    assert ema.updates == 2


def test_averages_can_be_kept_on_another_device() -> None:
    ema = EMA().to("cpu")
    run_with(ema)
    ema.to("meta")

    assert all(t.is_meta for t in ema.state_dict()["averages"]["0.999"].values())


@pytest.mark.parametrize("every", ["2 steps", "1 epoch"])
def test_a_resumed_run_goes_on_averaging_as_the_unbroken_one(every: str) -> None:
    def make(more: list[Callback]) -> Trainer:
        task = tiny_classification()
        ema = EMA(decay=[0.9, 0.5], every=every, start="2 steps")
        return task.trainer(callbacks=[ema, *more])

    task = tiny_classification()
    check_resumes_exactly(make, lambda t: t.fit(task.train, task.validation, epochs=3), every_th=2)


def test_a_checkpoint_without_the_averages_of_a_decay_is_refused() -> None:
    ema = EMA(decay=0.9)
    run_with(ema)

    with pytest.raises(CheckpointError, match=r"no averages of decay 0\.5"):
        EMA(decay=[0.9, 0.5]).load_state_dict(ema.state_dict())


def test_a_state_survives_a_round_trip_outside_of_a_run() -> None:
    ema, other = EMA(), EMA()
    run_with(ema)
    other.load_state_dict(ema.state_dict())

    state, expected = other.state_dict(), ema.state_dict()
    averages = state.pop("averages")["0.999"], expected.pop("averages")["0.999"]
    assert state == expected
    assert all(torch.equal(averages[0][name], averages[1][name]) for name in averages[1])


@pytest.mark.parametrize("options", [{"decay": 1.0}, {"evaluate": 0.5}, {"buffers": "average_"}])
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        EMA(**options)
