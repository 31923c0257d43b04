"""A run that was taken back to an earlier checkpoint: what it left behind does not count there."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.remote.faulty import FaultyFileSystem
from tests.remote.runs import ADDRESS, DATA, train, trainer
from trackside import checkpoint
from trackside.callbacks import Upload
from trackside.checkpoint.errors import NoValidCheckpointError
from trackside.checkpoint.ledger import Entry
from trackside.checkpoint.lineage import Return
from trackside.checkpoint.retention import Retention
from trackside.errors import CheckpointError
from trackside.remote.address import Address
from trackside.remote.copies import download
from trackside.remote.fetching import newest_first

Faulty = type[FaultyFileSystem]


def resumed_at(mirror: Path, which: str, **options: Any) -> int:
    """The step at which a run of two epochs, 12 steps, ends when it goes on from `which`."""
    result = trainer(mirror, **options).fit(DATA, batch_size=2, epochs=2, resume=which)
    return result.outcome.step


def test_a_run_that_was_taken_back_elsewhere_goes_on_with_its_new_line(
    faulty: Faulty, tmp_path: Path
) -> None:
    train(tmp_path / "here", 3, keep_last=4)
    train(tmp_path / "there", 2, 12, keep_last=4)
    assert resumed_at(tmp_path / "third", "auto", keep_last=4) == 12


def test_a_copy_knows_what_the_run_has_left_behind(faulty: Faulty, tmp_path: Path) -> None:
    train(tmp_path / "here", 3, keep_last=4)
    train(tmp_path / "there", 2, 12, keep_last=4)
    download(Address(ADDRESS), tmp_path / "copy", "all")
    found = checkpoint.newest_valid(tmp_path / "copy/checkpoints")
    assert found is not None
    assert found.checkpoint.manifest.step == 12


def test_retention_there_keeps_what_it_keeps_here(faulty: Faulty, tmp_path: Path) -> None:
    train(tmp_path / "here", 4, every="1 epoch")
    train(tmp_path / "here", 4, 18, every="1 epoch")  # the former step 24 is left behind
    download(Address(ADDRESS), tmp_path / "copy", "all")
    here, copied = (
        {one.path.name for one in checkpoint.candidates(tmp_path / name / "checkpoints")}
        for name in ("here", "copy")
    )
    assert copied == here


def test_the_best_may_be_one_that_was_saved_here_and_not_uploaded(
    faulty: Faulty, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = {"keep_best": 1, "monitor": "train/loss", "every": "1 epoch"}
    train(tmp_path / "here", 1, **rules)

    def fault(call: str, path: str) -> None:
        if call == "put" and "/objects/" in path:
            raise ConnectionError("away")

    faulty.fault = staticmethod(fault)
    train(tmp_path / "here", 2, "auto", Upload(drain_seconds=0.0), **rules)
    faulty.fault = staticmethod(lambda call, path: None)
    with caplog.at_level(logging.INFO):
        train(tmp_path / "here", 2, "best", **rules)
    assert "checkpoints/step-0000000012, step 12" in caplog.text


def test_what_was_left_behind_is_meant_by_its_step_alone() -> None:
    entries = [
        Entry(f"step-{number}", step, number, "0" * 32, {"loss": loss})
        for number, step, loss in ((1, 2, 0.9), (2, 4, 0.1), (3, 6, 0.2), (4, 4, 0.5))
    ]
    best = Retention(None, 1, "loss", "min", None)
    back = [Return(1, 3)]

    def numbers(which: str | int) -> list[int]:
        return [one.sequence for one in newest_first(which, entries, back, best)]

    assert (numbers("auto"), numbers("best"), numbers("4")) == ([4, 1], [4, 1], [4, 2])


def test_where_no_checkpoint_can_be_trusted_nothing_begins_again_in_silence(
    faulty: Faulty, tmp_path: Path
) -> None:
    train(tmp_path / "here", 1)
    for stored in faulty.store.values():
        content = stored.getvalue()
        if content[8:10] == b'{"':  # a safetensors file
            stored.seek(0)
            stored.write(bytes(len(content)))
    with pytest.raises(NoValidCheckpointError, match="can be trusted"):
        train(tmp_path / "there", 2, "auto")


def test_another_run_there_does_not_take_the_place_of_the_one_here(
    faulty: Faulty, tmp_path: Path
) -> None:
    train(tmp_path / "there", 1)
    train(None, 1, address=str(tmp_path / "here"))
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    with pytest.raises(CheckpointError, match="holds another run than"):
        train(None, 2, "auto", Upload(ADDRESS), address=str(tmp_path / "here"))
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == names
