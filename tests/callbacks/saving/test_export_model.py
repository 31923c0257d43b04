"""What is exported is the model as it stands, or its averages, or the best; found out early."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trackside import Callback, Settings
from trackside.callbacks import EMA, BestCheckpoint, ExportModel
from trackside.errors import ConfigurationError, UsageError
from trackside.run import Run
from trackside.testing import tiny_classification


def fit(*callbacks: Callback, model: nn.Module | None = None, **options: Any) -> Any:
    task = tiny_classification()
    task.model = model or task.model
    settings = Settings(directory="run", device="cpu", **options)
    trainer = task.trainer(callbacks=callbacks, settings=settings)
    trainer.fit(task.train, task.validation, epochs=2)
    return task


def outputs(file: str, inputs: Tensor) -> Tensor:
    scores: Tensor = torch.export.load(file).module()(inputs)
    return scores


INPUTS = torch.rand(7, 4)


@pytest.mark.parametrize("compile", [False, {"backend": "eager"}])
def test_the_file_does_what_the_trained_model_does(compile: Any) -> None:
    task = fit(ExportModel(), compile=compile)

    assert torch.equal(outputs("run/model.pt2", INPUTS), task.model.eval()(INPUTS))
    assert not list(Path("run").glob(".tmp*"))


def test_training_is_left_as_it_was() -> None:
    assert torch.equal(fit(ExportModel(every="1 step")).weights, fit().weights)


def test_it_exports_on_its_schedule() -> None:
    steps = []

    class Looks(Callback):
        runs_after = ("export_model",)

        def on_step_end(self, run: Run) -> None:
            if Path("run/model.pt2").exists():
                steps.append(run.progress.steps_completed)
                Path("run/model.pt2").unlink()

    fit(ExportModel(every="2 steps", at_end=False, try_first=False), Looks())

    assert steps == [2, 4, 6]


def test_averages_are_exported_where_they_are_asked_for() -> None:
    ema = EMA(decay=0.9)
    task = fit(ema, ExportModel(weights="ema"))

    model = tiny_classification().model.eval()
    model.load_state_dict(ema.weights())
    assert torch.equal(outputs("run/model.pt2", INPUTS), model(INPUTS))
    assert not torch.equal(outputs("run/model.pt2", INPUTS), task.model.eval()(INPUTS))


def test_the_best_weights_are_exported_where_they_are_asked_for() -> None:
    from safetensors.torch import load_file

    class Spoils(Callback):
        """After the first epoch, everything gets worse."""

        def on_train_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
            if run.progress.epochs_completed == 2:
                run.model.get_parameter("4.bias").mul_(100).add_(50)

    best = BestCheckpoint("val/loss")
    task = fit(Spoils(), best, ExportModel(weights="best_checkpoint"))

    model = tiny_classification().model.eval()
    model.load_state_dict(load_file(f"run/best/{best.kept[0]['files']['model']}"))
    assert torch.equal(outputs("run/model.pt2", INPUTS), model(INPUTS))
    assert not torch.equal(outputs("run/model.pt2", INPUTS), task.model.eval()(INPUTS))


@pytest.mark.skipif(
    torch.__version__ < "2.8", reason="torch before 2.8 and onnxscript 0.7 write no batch norm"
)
def test_an_onnx_file_takes_batches_of_any_size() -> None:
    import onnx
    from onnx.reference import ReferenceEvaluator

    task = fit(ExportModel("onnx", try_first=False))

    model = onnx.load("run/model.onnx")
    onnx.checker.check_model(model)
    evaluator = ReferenceEvaluator(model)
    for size in (1, 7):
        [scores] = evaluator.run(None, {evaluator.input_names[0]: INPUTS[:size].numpy()})
        torch.testing.assert_close(torch.tensor(scores), task.model.eval()(INPUTS[:size]))


class Decides(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layer(x)
        return scores if scores.sum() > 0 else -scores


def test_a_model_that_can_not_be_exported_is_refused_before_the_first_step() -> None:
    steps = []

    class Counts(Callback):
        def on_step_end(self, run: Run) -> None:
            steps.append(1)

    with pytest.raises(UsageError, match="`Decides` can't be exported"):
        fit(ExportModel(), Counts(), model=Decides())
    assert steps == []


def test_weights_of_a_callback_that_is_not_there_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="'emma'") as refused:
        fit(EMA(), ExportModel(weights="emma"))
    assert "did you mean `ema`" in str(refused.value)


@pytest.mark.parametrize("option", ["model", "data"])
def test_a_model_or_data_that_is_not_there_is_refused(option: str) -> None:
    with pytest.raises(ConfigurationError, match=f"there is no {option}"):
        fit(ExportModel(**{option: "another"}))  # type: ignore[arg-type]


def test_missing_packages_for_onnx_are_named_when_it_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'trackside\[onnx\]'"):
        ExportModel("onnx")


@pytest.mark.parametrize(
    "options",
    [
        {"format": "tf"},
        {"at_end": False},
        {"file": "model.onnx"},
        {"file": "../model.pt2"},
        {"tolerance": 0.0},
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        ExportModel(**options)
