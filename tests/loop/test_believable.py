"""A checkpoint that was edited and sealed again is refused by the place that is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import TensorDataset

from trackside import Result, Settings, Trainer
from trackside.callbacks import (
    EMA,
    SWA,
    BestCheckpoint,
    Checkpoint,
    EarlyStopping,
    MetricPlateau,
    TrainTime,
)
from trackside.checkpoint.files import digest_of
from trackside.checkpoint.manifest import MANIFEST_NAME
from trackside.checkpoint.sealed import seal, unseal
from trackside.errors import CheckpointError

INPUTS = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(INPUTS, INPUTS[:, :1])
LARGE = 10**30
GONE = object()


def fit(directory: str, steps: int, **more: Any) -> Result:
    trainer = Trainer(
        lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1)),
        loss=nn.MSELoss(),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.01),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 2),
        callbacks=[
            EMA(0.9),
            SWA(start="1 step"),
            EarlyStopping("val/loss", patience=9),
            BestCheckpoint("val/loss"),
            MetricPlateau("val/loss", window=5, min_improvement=0.1),
            TrainTime(),
            Checkpoint(every=None, background=False),
        ],
        seed=0,
        settings=Settings(directory=directory),
        defaults=False,
    )
    # Saved within an epoch, after an evaluation.
    return trainer.fit(DATA, DATA, steps=steps, batch_size=4, evaluate_every="3 steps", **more)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    fit(str(folder), 7)
    return folder / "checkpoints" / "step-0000000007"


def edited(content: Any, place: str, value: Any) -> Any:
    """`content` with `value` at `place`; a part of a place that is a number is an index."""
    *way, last = (int(part) if part.isdigit() else part for part in place.split("/"))
    inner = content
    for part in way:
        if isinstance(inner, dict) and "$tuple" in inner:
            inner = inner["$tuple"]
        inner = inner[part]
    if isinstance(inner, dict) and str(last) in inner:
        last = str(last)
    if value is GONE:
        del inner[last]
    else:
        inner[last] = value
    return content


def sealed_again(folder: Path) -> None:
    content, _ = unseal((folder / MANIFEST_NAME).read_bytes())
    for entry in content["files"]:
        if not entry["grows"]:
            new = digest_of(folder / entry["name"])
            entry |= {"size_bytes": new.size_bytes, "digest": new.digest}
    (folder / MANIFEST_NAME).write_bytes(seal(content))


EDITS: dict[str, list[Any]] = {
    # what all ranks share
    "state/progress": [None, 3, [], {}, GONE],
    "state/progress/steps_completed": [None, True, -1, 3.5, "7", [], LARGE, GONE],
    "state/progress/samples_before_epoch": [None, -1, 10**9, "x", GONE],
    "state/progress/epochs_closed": [5, -1, None, GONE],
    "state/progress/seconds": [None, -1.0, "x", {}],
    "state/loop": [None, [], {}, GONE],
    "state/loop/phase": [None, "resting", 1, GONE],
    "state/loop/pending": [None, "val", [1], {}],
    "state/loop/epoch_metrics": [None, [1], {"train/loss": "x"}],
    "state/loop/evaluated_at": [None, [], {"val": "x"}, {"val": -1}],
    "state/loop/rollbacks": [None, [1], [{}], {"a": 1}],
    "state/loop/skipped_steps": [3, [1], [{"step": 1}]],
    "state/loop/built": [True, {}, {"optimizers": {}}],
    "state/loop/built/optimizers/optimizer": [None, "x", [1], {"a": 1}],
    "state/loop/built/data/batch_size": ["x", -1, [1], 3.5, GONE],
    "state/loop/built/data/begun": [None, [], [1], ["a", "b"], {}],
    "state/history": [None, 7, {}, {"records": 3}, {"records": [[1, 2]]}, GONE],
    "state/models": [None, [], {"model": 3}, GONE],
    "state/optimizers/optimizer": [None, [], {}, {"state": {}, "param_groups": [3]}],
    "state/optimizers/optimizer/param_groups": [None, "x", {}, [None]],
    "state/optimizers/optimizer/param_groups/0/params": [None, "x", [[]], [-1], GONE],
    "state/optimizers/optimizer/param_groups/0/lr": [None, "x", [1], LARGE, GONE],
    "state/optimizers/optimizer/param_groups/0/betas": [None, "x", [0.9], {"a": 1}, GONE],
    "state/schedulers/optimizer": [None, 3, []],
    "state/schedulers/optimizer/step_size": [None, "x", []],
    "state/schedulers/optimizer/base_lrs": [None, "x", [], ["x"]],
    "state/schedulers/optimizer/last_epoch": [None, "x", {}],
    "state/precision": [None, 3],
    "state/config": [None, []],
    "state/callbacks": [None, 3, {"ema": 3}],
    "state/callbacks/ema/updates": [None, "x", True],
    "state/callbacks/ema/averages": [None, [], {"0.9": 3}, {}],
    "state/callbacks/swa/count": [None, "x"],
    "state/callbacks/early_stopping/patience": [None, 3, {}],
    "state/callbacks/early_stopping/patience/best": ["x", [], {"a": 1}],
    "state/callbacks/early_stopping/patience/waited": [None, "x", GONE],
    "state/callbacks/best_checkpoint/kept": [None, 3, [None], [{}]],
    "state/callbacks/best_checkpoint/kept/0/step": [None, [], "x", GONE],
    "state/callbacks/best_checkpoint/kept/0/value": [None, [], "x", GONE],
    "state/callbacks/best_checkpoint/kept/0/files": [None, -1, {"model": 3}, GONE],
    "state/callbacks/metric_plateau/values": [None, 3, ["x"], GONE],
    "state/callbacks/train_time/total_seconds": [None, "x", GONE],
    # what a rank knows alone
    "rank/data": [None, 3, [], GONE],
    "rank/data/epoch_start": [3, "x", []],
    "rank/random": [None, [], {}, GONE],
    "rank/random/python": [None, "x", [], [3, [1, 2], None]],
    "rank/random/numpy": [None, 3, []],
    "rank/random/torch": [None, 3, "x"],
    "rank/log": [None, 3, {"train/loss": 3}, GONE],
}
FILES = {"state": "state.json", "rank": "rank-00000.json"}


def cases() -> Iterator[Any]:
    for place, values in EDITS.items():
        for value in values:
            shown = "gone" if value is GONE else repr(value)
            yield pytest.param(place, value, id=f"{place} = {shown}")


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "edited"
    shutil.copytree(saved, folder)
    return folder


@pytest.mark.parametrize(("place", "value"), list(cases()))
def test_what_no_run_has_saved_is_refused(copy: Path, place: str, value: Any) -> None:
    file, _, inside = place.partition("/")
    path = copy / FILES[file]
    path.write_text(json.dumps(edited(json.loads(path.read_text()), inside, value)))
    sealed_again(copy)

    with pytest.raises(CheckpointError):
        fit("again", 9, resume=str(copy))


def test_the_place_and_both_sides_are_told(copy: Path) -> None:
    path = copy / "state.json"
    path.write_text(json.dumps(edited(json.loads(path.read_text()), "loop/pending", ["val", 3])))
    sealed_again(copy)

    with pytest.raises(CheckpointError, match=r"holds at `loop\.pending\.1` what") as caught:
        fit("again", 9, resume=str(copy))
    assert caught.value.received == "3"
    assert "string" in str(caught.value.expected)


@pytest.mark.parametrize(
    "tensor", ["models.model.0.weight", "optimizers.optimizer.state.0.exp_avg", "random.torch"]
)
def test_a_tensor_of_another_shape_is_refused(copy: Path, tensor: str) -> None:
    [path] = copy.glob("*.safetensors")
    tensors = load_file(path)
    [name] = [name for name in tensors if name.endswith(tensor)]
    tensors[name] = torch.zeros(7, dtype=tensors[name].dtype)
    save_file(tensors, path)
    sealed_again(copy)

    with pytest.raises(CheckpointError):
        fit("again", 9, resume=str(copy))


def test_an_untouched_checkpoint_that_is_sealed_again_is_resumed(copy: Path) -> None:
    sealed_again(copy)

    assert fit("again", 9, resume=str(copy)).history.latest("train/loss") is not None
