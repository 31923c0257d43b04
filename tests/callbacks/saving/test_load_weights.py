"""LoadWeights loads what fits, says what doesn't, and changes nothing when it refuses."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.device import same
from trackside import Trainer
from trackside.callbacks.averaging.ema import EMA
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.callbacks.saving.load_weights import LoadWeights
from trackside.checkpoint import DamagedCheckpointError, StateMismatchError
from trackside.distributed.world import World
from trackside.errors import CheckpointError, ConfigurationError
from trackside.run import Run
from trackside.testing import tiny_regression
from trackside.trainer.settings import Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "given.safetensors"
    save_file({"weight": torch.full((1, 2), 3.0), "bias": torch.full((1,), 4.0)}, path)
    return path


def load(model: nn.Module, source: Path, **options: Any) -> LoadWeights:
    """What the trainer does when the optimizers are built."""
    callback = LoadWeights(source, **options)
    run = Run("fit")
    run.models = {"model": model}
    run.world = World(0, 1)
    callback.on_optimizers_ready(run)
    return callback


def test_training_begins_with_the_weights_of_the_file_and_so_do_averages(file: Path) -> None:
    task = tiny_regression()
    task.model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    ema = EMA(0.5)
    loaded = LoadWeights(file, rename={"": "1."}, strict=False, freeze=True)
    task.trainer(callbacks=[ema, loaded]).fit(task.train, steps=2)

    assert same(task.model.state_dict()["1.weight"], torch.full((1, 2), 3.0))
    assert same(ema.weights()["1.weight"], torch.full((1, 2), 3.0))


def test_a_checkpoint_folder_is_a_source(tmp_path: Path) -> None:
    task = tiny_regression()
    checkpoint = Checkpoint(None)
    task.trainer(callbacks=[checkpoint], settings=Settings(directory=tmp_path)).fit(
        task.train, steps=2
    )
    assert checkpoint.last is not None

    model = nn.Linear(2, 1)
    load(model, checkpoint.last)
    assert same(model.weight, task.model.state_dict()["weight"])


def test_the_folder_of_a_run_names_its_newest_checkpoint(tmp_path: Path) -> None:
    task = tiny_regression()
    settings = Settings(directory=tmp_path / "run")
    task.trainer(callbacks=[Checkpoint(None)], settings=settings).fit(task.train, steps=2)
    newest = tmp_path / "run" / "checkpoints" / "step-0000000002"

    with pytest.raises(CheckpointError, match=str(newest)):
        load(nn.Linear(2, 1), tmp_path / "run")
    with pytest.raises(CheckpointError, match=str(newest)):
        task.trainer().fit(task.train, steps=2, resume=tmp_path / "run")


def test_what_was_missing_is_logged(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 5))
    with caplog.at_level(logging.WARNING, "trackside"):
        load(model, file, rename={"": "0."}, strict=False)

    assert "missing in the checkpoint" in caplog.text
    assert "1.bias" in caplog.text


def test_a_difference_is_refused_and_changes_nothing(file: Path) -> None:
    model = nn.Linear(2, 1)
    before = model.weight.clone()

    with pytest.raises(StateMismatchError, match="don't fit the model: 1 of the model's 2"):
        load(model, file, rename={"bias": "other"})
    assert same(model.weight, before)


def test_nothing_that_matches_is_refused_even_without_strictness(file: Path) -> None:
    with pytest.raises(StateMismatchError, match="none of the weights"):
        load(nn.Sequential(nn.Linear(2, 1)), file, strict=False)


def test_names_change_by_prefix_and_by_pattern(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    names = ["a.b.weight", "layer7.weight", "head.weight"]
    save_file({name: torch.full((1, 1), float(i)) for i, name in enumerate(names)}, path)
    model = nn.ModuleDict({"x": nn.Linear(1, 1, bias=False), "n7": nn.Linear(1, 1, bias=False)})

    load(model, path, rename={"a.b.": "x.", r"layer(\d+)": r"n\1", "head.": None})
    assert [p.item() for p in model.parameters()] == [0.0, 1.0]


def test_two_weights_of_one_name_are_refused(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="become 'same'"):
        load(nn.Linear(2, 1), file, rename={"weight": "same", "bias": "same"})


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_names_of_wrappers_are_understood(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "wrapped.safetensors"
    save_file({f"{prefix}weight": torch.ones(1, 2), f"{prefix}bias": torch.ones(1)}, path)

    assert load(nn.Linear(2, 1), path).match is not None


def test_only_what_was_loaded_is_frozen(file: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 5))
    load(model, file, rename={"": "0."}, strict=False, freeze=True)

    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ["1.weight", "1.bias"]


def test_running_statistics_that_were_loaded_are_frozen_with_the_weights(tmp_path: Path) -> None:
    def part() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))

    path = tmp_path / "part.safetensors"
    save_file(part().state_dict(), path)
    model = nn.Sequential(part(), nn.BatchNorm1d(4), nn.Linear(4, 1))
    load(model, path, rename={"": "0."}, strict=False, freeze=True)
    assert [m.training for m in model.modules() if isinstance(m, nn.BatchNorm1d)] == [False, True]


def test_tied_weights_need_one_name_in_the_file(tmp_path: Path) -> None:
    model = nn.ModuleDict({"a": nn.Linear(1, 1, bias=False), "b": nn.Linear(1, 1, bias=False)})
    model["b"].weight = model["a"].weight
    save_file({"b.weight": torch.full((1, 1), 7.0)}, path := tmp_path / "tied.safetensors")

    load(model, path)
    assert [p.item() for p in model.parameters()] == [7.0]


def test_an_evaluation_loads_once(file: Path) -> None:
    task = tiny_regression()
    callback = LoadWeights(file)
    trainer: Trainer = task.trainer(callbacks=[callback])
    trainer.evaluate(task.validation)
    assert task.model.state_dict()["bias"].item() == 4.0

    with torch.no_grad():
        task.model.state_dict()["bias"].fill_(9.0)
    trainer.evaluate(task.validation)
    assert task.model.state_dict()["bias"].item() == 9.0


def test_an_evaluation_of_another_model_loads_as_well_and_leaves_the_first_one(file: Path) -> None:
    first, second, callback = tiny_regression(), tiny_regression(), LoadWeights(file)
    trainer = first.trainer(callbacks=[callback])
    trainer.fit(first.train, epochs=1)
    trained = first.model.state_dict()["bias"].item()

    second.trainer(callbacks=[callback]).evaluate(second.validation)
    trainer.evaluate(first.validation)

    assert second.model.state_dict()["bias"].item() == 4.0
    assert first.model.state_dict()["bias"].item() == trained != 4.0


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(DamagedCheckpointError, match="torn"):
        load(nn.Linear(2, 1), tmp_path / "torn.safetensors")
    with pytest.raises(ConfigurationError, match="no weights at"):
        load(nn.Linear(2, 1), tmp_path / "absent")


def test_a_pattern_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="neither a prefix"):
        LoadWeights("file", rename={"(": "x"})


def test_a_pattern_that_fits_nothing_is_named(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(nn.Linear(2, 1), file, rename={"bais": None, "bias": "bias"}, strict=False)
    assert [record.message for record in caplog.records if "fits no weight" in record.message] == [
        f"rename: 'bais' fits no weight in {file}"
    ]
