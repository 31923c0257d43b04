"""Runs that are uploaded later, downloaded, or looked at, by command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import trackside
from tests.remote.faulty import FaultyFileSystem
from tests.remote.runs import ADDRESS, DATA, train, trainer, unbroken
from trackside import checkpoint
from trackside.callbacks import Upload
from trackside.cli.main import run as command
from trackside.remote.address import Address
from trackside.remote.copies import download, runs_below
from trackside.remote.fetching import read_contents
from trackside.remote.patience import Patience
from trackside.remote.store import Store

Faulty = type[FaultyFileSystem]


def cut_off(faulty: Faulty, mirror: Path, **options: Any) -> None:
    """A run whose uploads never arrived."""

    def fault(call: str, path: str) -> None:
        if call == "put" and "/objects/" in path:
            raise ConnectionError("away")

    faulty.fault = staticmethod(fault)
    train(mirror, 2, None, Upload(drain_seconds=0.0), **options)
    faulty.fault = staticmethod(lambda call, path: None)


def test_a_run_that_was_cut_off_is_uploaded_later_and_goes_on_from_there(
    faulty: Faulty, tmp_path: Path
) -> None:
    cut_off(faulty, tmp_path / "here")
    assert command(["upload", str(tmp_path / "here")]) == 0
    assert train(tmp_path / "there", 3, "auto") == unbroken(tmp_path, 3)


def test_what_went_on_elsewhere_is_not_overwritten(
    faulty: Faulty, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off(faulty, tmp_path / "here")
    train(tmp_path / "there", 1)
    assert command(["upload", str(tmp_path / "here")]) == 1
    assert "went on elsewhere" in capsys.readouterr().err


def test_a_download_is_the_folder_of_the_run(
    faulty: Faulty, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "here")
    folder = tmp_path / "copy"
    assert command(["download", ADDRESS, str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checkpoints"] == 2
    assert (folder / "run.json").read_text() == (tmp_path / "here/run.json").read_text()
    found = checkpoint.newest_valid(folder / "checkpoints")
    assert found is not None
    assert found.checkpoint.manifest.step == 12


def test_a_download_does_not_mix_with_what_is_there(faulty: Faulty, tmp_path: Path) -> None:
    train(tmp_path / "here")
    assert command(["download", ADDRESS, str(tmp_path / "here")]) == 2


def test_checkpoints_in_another_folder_of_the_run_are_uploaded_and_go_on_from_there(
    faulty: Faulty, tmp_path: Path
) -> None:
    made = trainer(None, address=str(tmp_path / "plain"), folder="mine/kept")
    made.fit(DATA, batch_size=2, epochs=2)
    assert command(["upload", str(tmp_path / "plain"), "--to", ADDRESS]) == 0
    assert download(Address(ADDRESS), tmp_path / "copy", "all") == 2
    assert checkpoint.newest_valid(tmp_path / "copy/mine/kept") is not None


def test_checkpoints_outside_the_folder_of_a_run_that_was_cut_off_are_uploaded_later(
    faulty: Faulty, tmp_path: Path
) -> None:
    cut_off(faulty, tmp_path / "here", folder=str(tmp_path / "large disk"))
    assert command(["upload", str(tmp_path / "here")]) == 0
    assert download(Address(ADDRESS), tmp_path / "copy", "all") == 2


def test_the_newest_to_download_is_of_the_run_that_was_begun_last(
    faulty: Faulty, tmp_path: Path
) -> None:
    train(tmp_path / "long", 3)
    train(tmp_path / "short", 1)
    assert download(Address(ADDRESS), tmp_path / "copy", "auto") == 1
    found = checkpoint.newest_valid(tmp_path / "copy/checkpoints")
    assert found is not None
    assert found.checkpoint.manifest.step == 6


def test_a_run_that_is_damaged_there_is_listed_beside_the_others(
    faulty: Faulty, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(EXPERIMENT)
    for name in ("run", "other"):
        place = f"trainer.directory=faulty://bucket/{name}"
        assert command(["train", "run.yaml", place]) == 0
    (tmp_path / "runs").rename(tmp_path / "gone")
    store = Store(Address(ADDRESS))
    described = read_contents(store, Patience(ADDRESS, "", 1.0)).files["config.yaml"]
    store.remove([described.parts[0].name])
    capsys.readouterr()
    assert command(["runs", "faulty://bucket", "--json"]) == 0
    listed = {run["folder"]: run for run in json.loads(capsys.readouterr().out)}
    assert listed["faulty://bucket/other"]["status"] == "completed"
    assert listed[ADDRESS]["status"] == "unknown"
    assert "is missing" in listed[ADDRESS]["problem"]


def test_runs_below_an_address_are_found(faulty: Faulty, tmp_path: Path) -> None:
    train(tmp_path / "here", 1)
    train(tmp_path / "other", 1, address="faulty://bucket/deeper/other")
    found = [str(one) for one in runs_below(Address("faulty://bucket"))]
    assert found == ["faulty://bucket/deeper/other", "faulty://bucket/run"]


EXPERIMENT = """
model: {kind: torch.nn.Linear, in_features: 3, out_features: 1}
loss: {kind: torch.nn.MSELoss}
optimizer: {kind: torch.optim.SGD, lr: 0.1}
data: {train: {kind: tests.remote.runs.data}, batch_size: 2}
trainer: {epochs: 2, directory: "faulty://bucket/run"}
callbacks: {checkpoint: {kind: Checkpoint, keep_best: 1, monitor: train/loss}}
"""


def test_commands_go_on_with_a_remote_run_and_load_its_model(
    faulty: Faulty, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(EXPERIMENT)
    assert command(["train", "run.yaml"]) == 0
    (tmp_path / "runs").rename(tmp_path / "gone")  # another machine
    assert command(["resume", ADDRESS, "trainer.epochs=3"]) == 0
    assert "resumed at step 12" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "runs")
    assert isinstance(trackside.load(ADDRESS, "best"), torch.nn.Linear)
    assert len(list((tmp_path / "runs/faulty/bucket/run/checkpoints").glob("step-*"))) == 1
    assert command(["runs", "faulty://bucket", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["folder"], listed["status"]) == (ADDRESS, "completed")


def test_commands_evaluate_and_predict_a_remote_run_as_its_folder(
    faulty: Faulty, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(EXPERIMENT)
    assert command(["train", "run.yaml"]) == 0
    (tmp_path / "runs/faulty/bucket/run").rename(tmp_path / "here")
    losses = []
    for which in ("auto", "6"):
        shutil.rmtree(tmp_path / "runs")  # another machine
        capsys.readouterr()
        for run in ("here", ADDRESS):
            options = ["train", "--checkpoint", which, "--json"]
            assert command(["evaluate", run, *options]) == 0
        here, there = map(json.loads, capsys.readouterr().out.splitlines())
        assert there == pytest.approx(here)
        losses.append(there["train/loss"])
    assert losses[0] < 0.9 * losses[1]  # each is of its own checkpoint
    assert command(["predict", ADDRESS, "train", "--json"]) == 0
    predicted = json.loads(capsys.readouterr().out)
    assert predicted["file"] == "runs/faulty/bucket/run/train.npz"
    assert predicted["samples"] == len(DATA)


def test_a_run_that_goes_on_in_its_mirror_is_uploaded_further(
    faulty: Faulty, tmp_path: Path
) -> None:
    (tmp_path / "run.yaml").write_text(EXPERIMENT)
    assert command(["train", "run.yaml", "trainer.mirror=mirror"]) == 0
    assert command(["resume", "mirror", "trainer.epochs=3"]) == 0
    assert command(["download", ADDRESS, "copy", "--checkpoint", "18"]) == 0
    assert command(["evaluate", "mirror", "train"]) == 0
