"""SaveWeights writes files for others: plain names, whole, never half, never NaN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, load_model
from torch import Tensor, nn

from tests.device import same
from trackside import Callback
from trackside.callbacks.averaging.ema import EMA
from trackside.callbacks.saving.save_weights import SaveWeights
from trackside.callbacks.saving.weight_files import read_weights, whole_state, write_weights
from trackside.checkpoint import CheckpointWriteError
from trackside.distributed.world import World
from trackside.errors import ConfigurationError, NonFiniteError
from trackside.run import Run
from trackside.testing import tiny_regression
from trackside.trainer.settings import Settings


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(2, 2, bias=False)
        self.head = nn.Linear(2, 2, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.embed(x))
        return out


class Poison(Callback):
    def on_step_end(self, run: Run) -> None:
        if run.progress.steps_completed == 2:
            with torch.no_grad():
                next(run.model.parameters()).fill_(torch.nan)


def fit(tmp_path: Path, *callbacks: Callback, **options: Any) -> Any:
    task = tiny_regression()
    trainer = task.trainer(callbacks=callbacks, settings=Settings(directory=tmp_path), **options)
    trainer.fit(task.train, steps=3)
    return task


def test_the_weights_at_the_end_load_into_the_model(tmp_path: Path) -> None:
    task = fit(tmp_path, SaveWeights())

    own = task.model.state_dict()
    saved = load_file(tmp_path / "weights.safetensors")
    assert saved.keys() == own.keys()
    assert all(same(saved[name], own[name]) for name in own)


def test_a_schedule_writes_while_training_goes_on(tmp_path: Path) -> None:
    seen = []

    class Look(Callback):
        runs_after = (SaveWeights,)

        def on_step_end(self, run: Run) -> None:
            seen.append((tmp_path / "weights.safetensors").exists())

    fit(tmp_path, SaveWeights("2 steps", at_end=False), Look())

    assert seen == [False, True, True]


def test_names_are_those_of_the_model_as_it_was_written() -> None:
    model = nn.Sequential(nn.Linear(2, 1))
    compiled = nn.Module()
    compiled._orig_mod = model  # where `torch.compile` puts it
    wrapped = nn.DataParallel(compiled)

    assert whole_state(wrapped, World(0, 1)).keys() == model.state_dict().keys()


def test_a_part_that_is_called_module_keeps_its_name() -> None:
    model = nn.Module()
    model.module = nn.Linear(2, 1)

    assert list(whole_state(model, World(0, 1))) == ["module.weight", "module.bias"]


def test_tied_weights_are_stored_once_and_loaded_by_safetensors(tmp_path: Path) -> None:
    model, path = Tied(), tmp_path / "tied.safetensors"
    write_weights(path, whole_state(model, World(0, 1)), "run")

    assert list(load_file(path)) == ["embed.weight"]
    assert read_weights(path).keys() == model.state_dict().keys()
    other = Tied()
    load_model(other, path)
    assert same(other.head.weight, model.head.weight)


def test_views_of_one_tensor_are_tensors_of_their_own(tmp_path: Path) -> None:
    whole, path = torch.arange(6.0), tmp_path / "views.safetensors"
    write_weights(path, {"a": whole, "b": whole[2:], "c": whole.view(2, 3).t()}, "run")

    saved = load_file(path)
    assert same(saved["b"], whole[2:])
    assert same(saved["c"], whole.view(2, 3).t())


def test_averages_are_written_by_the_name_of_their_callback(tmp_path: Path) -> None:
    ema = EMA(0.5)
    fit(tmp_path, ema, SaveWeights(average="ema"))

    saved = load_file(tmp_path / "weights.safetensors")
    assert all(same(saved[name], value) for name, value in ema.weights().items())


def test_averages_of_nobody_are_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no callback 'emma' has any"):
        fit(tmp_path, EMA(0.5), SaveWeights(average="emma"))


def test_weights_that_are_nan_leave_the_former_file(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="not finite"):
        fit(tmp_path, Poison(), SaveWeights("1 step"))

    assert all(t.isfinite().all() for t in load_file(tmp_path / "weights.safetensors").values())


def test_a_failed_write_leaves_the_former_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.safetensors"
    write_weights(path, {"a": torch.zeros(1)}, "run")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr("trackside.callbacks.saving.weight_files.os.fsync", full)
    with pytest.raises(CheckpointWriteError, match="no space left"):
        write_weights(path, {"a": torch.ones(1)}, "run")

    assert [one.name for one in tmp_path.iterdir()] == ["weights.safetensors"]
    assert load_file(path)["a"] == 0


def test_several_models_have_a_file_each() -> None:
    run = Run("fit", "folder")
    run.models = {"generator": nn.Linear(1, 1), "critic": nn.Linear(1, 1)}

    assert [path.name for path in SaveWeights().paths(run).values()] == [
        "weights-generator.safetensors",
        "weights-critic.safetensors",
    ]


def test_one_that_would_never_write_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="never write"):
        SaveWeights(at_end=False)


def test_the_file_stays_below_the_runs_folder() -> None:
    with pytest.raises(ConfigurationError, match="name"):
        SaveWeights(file="../weights.safetensors")


def test_a_name_may_have_counters_and_metrics(tmp_path: Path) -> None:
    task = tiny_regression()
    trainer = task.trainer(
        callbacks=[SaveWeights("1 epoch", file="w/step-{step:04}-{val/loss:.3f}.safetensors")],
        settings=Settings(directory=tmp_path),
    )
    result = trainer.fit(task.train, task.validation, epochs=2)

    values = [f"{value:.3f}" for value in result.history.values("val/loss")]
    steps = result.outcome.step // 2
    names = {f"step-{steps * n:04}-{value}.safetensors" for n, value in enumerate(values, 1)}
    assert {path.name for path in (tmp_path / "w").iterdir()} == names


@pytest.mark.parametrize(
    "file", ["{step.safetensors", "{}.safetensors", "{step!x}.safetensors", "{step:q}.safetensors"]
)
def test_a_name_that_cannot_be_filled_in_is_refused(file: str) -> None:
    with pytest.raises(ConfigurationError, match="can't be filled in"):
        SaveWeights(file=file)


def test_a_metric_in_the_name_has_to_be_logged_by_somebody(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="val/los"):
        fit(tmp_path, SaveWeights(file="{val/los}.safetensors"))
