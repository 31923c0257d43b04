"""SWA takes the plain mean, with batch norm to fit it, and leaves training as it was."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from tests.callbacks.broken_runs import SaveEverywhere, check_resumes_exactly
from tests.device import DEVICE
from trackside import Callback, Result, Trainer
from trackside.callbacks.averaging.batch_norm import statistics
from trackside.callbacks.averaging.swa import SWA
from trackside.callbacks.saving.best_checkpoint import BestCheckpoint
from trackside.callbacks.saving.export_model import ExportModel
from trackside.callbacks.saving.save_weights import SaveWeights
from trackside.callbacks.stopping.early_stopping import EarlyStopping
from trackside.errors import ConfigurationError, DataError, ScheduleError, UsageError
from trackside.run import Run
from trackside.testing import Task, tiny_classification, tiny_regression


def flat(model: nn.Module) -> Tensor:
    return torch.cat([tensor.detach().double().flatten() for tensor in model.state_dict().values()])


def assert_same(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    assert own.keys() == state.keys()
    assert [key for key in own if not torch.equal(own[key].cpu(), state[key].cpu())] == []


class Weights(Callback):
    def __init__(self) -> None:
        self.after_steps: list[Tensor] = []
        self.after_epochs: list[Tensor] = []
        self.evaluated: list[Tensor] = []
        self.at_fit_end = torch.zeros(0)

    def on_step_end(self, run: Run) -> None:
        self.after_steps.append(flat(run.model))

    def on_train_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        self.after_epochs.append(flat(run.model))

    def on_evaluation_batch_end(self, run: Run, evaluation: Any, batch: Any, output: Any) -> None:
        self.evaluated.append(flat(run.model))

    def on_fit_end(self, run: Run) -> None:
        self.at_fit_end = flat(run.model)


def run_with(swa: SWA, task: Task | None = None, **limits: Any) -> tuple[Task, Weights]:
    task, weights = task or tiny_regression(), Weights()
    trainer = task.trainer(callbacks=[swa, weights])
    trainer.fit(task.train, task.validation, **(limits or {"epochs": 4}))
    return task, weights


def test_the_model_ends_with_the_mean_of_the_weights_from_the_start_on() -> None:
    task, weights = run_with(SWA(start="2 epochs"))

    expected = torch.stack(weights.after_epochs[1:]).mean(dim=0)
    assert torch.allclose(flat(task.model), expected, atol=1e-6)


def test_weights_can_be_taken_between_epochs() -> None:
    task, weights = run_with(SWA(start="4 steps", every="2 steps"), steps=8)

    expected = torch.stack([weights.after_steps[n - 1] for n in (4, 6, 8)]).mean(dim=0)
    assert torch.allclose(flat(task.model), expected, atol=1e-6)


def test_an_evaluation_sees_the_mean_with_the_epoch_that_has_just_ended() -> None:
    _, weights = run_with(SWA(start="1 epoch"), epochs=2)

    expected = torch.stack(weights.after_epochs[:2]).mean(dim=0)
    assert torch.equal(weights.evaluated[0], weights.after_epochs[0])
    assert torch.allclose(weights.evaluated[-1], expected, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"evaluate": False}, {"replace": False}], ids=str)
def test_training_is_left_as_it_was(options: dict[str, Any]) -> None:
    without = Weights()
    task = tiny_classification()
    task.trainer(callbacks=[without]).fit(task.train, task.validation, epochs=4)

    _, weights = run_with(SWA(start="1 epoch", **options), tiny_classification())

    pairs = zip(weights.after_steps, without.after_steps, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert torch.equal(weights.at_fit_end, without.at_fit_end)


def test_the_statistics_of_batch_norm_are_those_of_torch_for_the_averaged_weights() -> None:
    task, _ = run_with(SWA(start="1 epoch"), tiny_classification(batch_size=20))
    reference = copy.deepcopy(task.model)
    update_bn(task.train, reference, device=DEVICE)

    # One batch holds all samples: its order, and dropout behind the norm, change nothing.
    found, expected = statistics({"m": task.model}), statistics({"m": reference})
    assert all(torch.allclose(found[name], expected[name]) for name in expected)


def test_dropout_is_off_while_batch_norm_is_measured_at_the_end() -> None:
    task = tiny_classification(batch_size=20)
    norm = nn.BatchNorm1d(4)
    model = nn.Sequential(nn.Dropout(0.9), norm, nn.Linear(4, 3))
    task = dataclasses.replace(task, model=model)
    task.trainer(callbacks=[SWA("1 epoch", evaluate=False)]).fit(task.train, epochs=1)

    inputs = torch.cat([inputs for inputs, _ in task.train]).to(DEVICE)
    assert norm.running_var is not None
    assert torch.allclose(norm.running_var, inputs.var(dim=0))
    assert all(module.training for module in model.modules())


def test_a_pass_for_batch_norm_may_be_shorter() -> None:
    def mean(batches: int | None) -> Tensor:
        task, _ = run_with(SWA("1 epoch", batch_norm_batches=batches), tiny_classification())
        return task.model[1].running_mean.clone()  # type: ignore[index]

    assert not torch.equal(mean(1), mean(None))


def test_without_a_pass_the_statistics_of_training_stay() -> None:
    task, weights = run_with(SWA("1 epoch", batch_norm_batches=0), tiny_classification())
    trained = copy.deepcopy(task.model)
    pieces = weights.at_fit_end.split([p.numel() for p in trained.state_dict().values()])
    names = list(trained.state_dict())

    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        live = task.model.state_dict()[name].double().flatten()
        assert torch.equal(live, pieces[names.index(name)])


def test_the_mean_is_not_handed_over_by_a_run_that_is_interrupted() -> None:
    class Interrupting(Callback):
        def on_step_end(self, run: Run) -> None:
            if run.progress.steps_completed == 8:
                run.stop("Ctrl-C", signal=2)

    task, weights = tiny_regression(), Weights()
    trainer = task.trainer(callbacks=[SWA("1 epoch"), weights, Interrupting()])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(task.train, task.validation, epochs=4)

    assert torch.equal(flat(task.model), weights.after_steps[-1])


def test_a_checkpoint_of_the_end_holds_the_weights_of_training() -> None:
    class SaveAtEnd(Callback):
        def on_fit_end(self, run: Run) -> None:
            run.save("end")

    task, weights, saving = tiny_classification(), Weights(), SaveEverywhere()
    trainer = task.trainer(callbacks=[SWA("1 epoch"), weights, saving, SaveAtEnd()])
    trainer.fit(task.train, task.validation, epochs=2)

    kept = saving.saver.states[-1][0]["models"]["model"]
    saved = torch.cat([tensor.double().flatten() for tensor in kept.values()])
    assert torch.equal(saved, weights.at_fit_end)
    assert not torch.equal(saved, flat(task.model))


def test_a_resumed_run_ends_with_the_mean_of_the_unbroken_one() -> None:
    def make(more: list[Callback]) -> Trainer:
        return tiny_classification().trainer(callbacks=[SWA(start="1 epoch"), *more])

    task = tiny_classification()
    # Several evaluations use the same mean: what was measured for it is part of the state.
    check_resumes_exactly(
        make,
        lambda t: t.fit(task.train, task.validation, epochs=3, evaluate_every="1 step"),
        every_th=2,
    )


def test_evaluating_in_the_middle_of_an_epoch_leaves_the_order_of_the_data() -> None:
    task, without = tiny_classification(), Weights()
    trainer = task.trainer(callbacks=[without])
    trainer.fit(task.train, task.validation, epochs=3, evaluate_every="2 steps")

    swa, weights, other = SWA(start="1 step", every="1 step"), Weights(), tiny_classification()
    trainer = other.trainer(callbacks=[swa, weights])
    trainer.fit(other.train, other.validation, epochs=3, evaluate_every="2 steps")

    pairs = zip(weights.after_steps, without.after_steps, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("options", [{}, {"replace": False}, {"evaluate": False}], ids=str)
def test_the_mean_can_be_written_by_name_in_the_middle_and_at_the_end(
    options: dict[str, Any],
) -> None:
    task = tiny_classification()
    saving = SaveWeights("1 epoch", file="{epoch}.safetensors", average="swa")
    swa = SWA("1 epoch", **options)
    result = task.trainer(callbacks=[swa, saving]).fit(task.train, epochs=3)

    kept = [load_file(result.directory / f"{epoch}.safetensors") for epoch in (1, 2, 3)]
    first, _, last = (one["0.weight"] for one in kept)
    assert not torch.equal(first, last)
    assert all(torch.equal(value.cpu(), kept[-1][key]) for key, value in swa.weights().items())
    if swa.replace:
        assert_same(task.model, kept[-1])
    else:
        assert not torch.equal(
            task.model.state_dict()["1.running_mean"], kept[-1]["1.running_mean"]
        )


def test_the_files_of_the_end_hold_what_fit_returns() -> None:
    task = tiny_classification()
    callbacks = [SaveWeights("1 epoch", at_end=False, file="{epoch}.safetensors"), SaveWeights()]
    exporting = ExportModel(try_first=False)
    swa = SWA("1 epoch", evaluate=False)
    result = task.trainer(callbacks=[swa, *callbacks, exporting]).fit(task.train, epochs=3)

    assert_same(task.model, load_file(result.directory / "weights.safetensors"))
    exported = torch.export.load(result.directory / "model.pt2")
    assert_same(task.model, exported.state_dict)
    own = load_file(result.directory / "3.safetensors")
    assert not torch.equal(own["0.weight"], task.model.state_dict()["0.weight"].cpu())


def test_before_there_is_a_mean_the_files_hold_the_weights() -> None:
    task, swa = tiny_classification(), SWA("9 epochs")
    callbacks = [swa, SaveWeights(), SaveWeights(file="mean.safetensors", average="swa")]
    result = task.trainer(callbacks=callbacks).fit(task.train, epochs=1)

    for name in ("weights", "mean"):
        assert_same(task.model, load_file(result.directory / f"{name}.safetensors"))


def test_a_mean_without_statistics_is_refused_when_the_data_is_gone() -> None:
    swa = SWA("1 epoch", replace=False, evaluate=False)
    run_with(swa, tiny_classification())

    with pytest.raises(UsageError, match="not measured for the mean"):
        swa.weights()


@pytest.mark.parametrize(
    ("restoring", "option"),
    [
        (EarlyStopping(restore_best=True), "restore_best"),
        (BestCheckpoint(restore=True), "restore"),
    ],
)
def test_two_that_say_which_weights_the_model_ends_with_are_refused(
    restoring: Callback, option: str
) -> None:
    def fit(*callbacks: Callback) -> Result:
        task = tiny_regression()
        return task.trainer(callbacks=callbacks).fit(task.train, task.validation, epochs=2)

    with pytest.raises(ConfigurationError, match="both say which weights") as refused:
        fit(SWA("1 epoch"), restoring)
    assert f"{option}=False" in str(refused.value)
    fit(SWA("1 epoch", replace=False), restoring)
    fit(SWA("1 epoch"), EarlyStopping(), BestCheckpoint())


@pytest.mark.parametrize("options", [{"evaluate": False}, {"replace": False}], ids=str)
def test_data_that_batch_norm_cant_be_measured_over_is_refused_before_the_first_step(
    options: dict[str, Any],
) -> None:
    task, weights = tiny_classification(), Weights()
    trainer = task.trainer(callbacks=[SWA("1 epoch", **options), weights])

    with pytest.raises(DataError, match="no room for a second pass") as refused:
        trainer.fit((batch for batch in task.train), task.validation, steps=2)
    assert "batch_norm_batches=0" in str(refused.value)
    assert weights.after_steps == []


@pytest.mark.parametrize("options", [{}, {"batch_norm_batches": 0}], ids=str)
def test_without_batch_norm_to_measure_data_can_be_passed_over_once(
    options: dict[str, Any],
) -> None:
    task = tiny_classification() if options else tiny_regression()
    swa = SWA("1 step", every="1 step", **options)
    task.trainer(callbacks=[swa]).fit((batch for batch in task.train), steps=2)

    assert swa.count == 2


def test_a_start_in_seconds_is_refused() -> None:
    with pytest.raises(ScheduleError, match="can't be counted in seconds"):
        run_with(SWA(start="10 minutes"))


def test_a_number_of_batches_below_zero_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="batch_norm_batches=-1"):
        SWA(start="1 epoch", batch_norm_batches=-1)
