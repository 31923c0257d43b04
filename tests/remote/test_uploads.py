"""Uploads: whatever the store does, what its ledger names is whole."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from tests.remote.faulty import FaultyFileSystem
from tests.remote.runs import ADDRESS, DATA, train, unbroken
from trackside import Settings, Trainer, UsageError
from trackside.callbacks import Upload
from trackside.remote import joining
from trackside.remote.address import Address
from trackside.remote.contents import LEDGERS, Contents, parse
from trackside.remote.copies import download
from trackside.remote.fetching import read_contents
from trackside.remote.patience import Patience
from trackside.remote.store import Store

Faulty = type[FaultyFileSystem]


def contents() -> Contents:
    return read_contents(Store(Address(ADDRESS)), Patience(ADDRESS, "", 1.0))


def kept() -> list[int]:
    return [one.entry.step for one in contents().of_run(contents().run_id)]


def objects() -> set[str]:
    return {
        name.removeprefix("/bucket/run/") for name in FaultyFileSystem.store if "/objects/" in name
    }


def test_a_run_goes_on_bitwise_from_its_remote_folder_in_another_place(
    faulty: Faulty, tmp_path: Path
) -> None:
    train(tmp_path / "here", epochs=2)
    weights = train(tmp_path / "there", 4, "auto")
    assert weights == unbroken(tmp_path, 4)
    assert not list((tmp_path / "there").rglob("*.tmp*"))


def test_retention_holds_there_and_no_object_is_left_over(faulty: Faulty, tmp_path: Path) -> None:
    train(tmp_path / "here")
    assert kept() == [10, 12]
    both = [parse(Store(Address(ADDRESS)).get(name, 10**6)).objects() for name in LEDGERS]
    assert objects() == both[0] | both[1]


def test_the_ledger_comes_last(faulty: Faulty, tmp_path: Path) -> None:
    seen: list[bool] = []

    def fault(call: str, path: str) -> None:
        if call == "put" and "trackside." in path:
            seen.append(contents().objects() <= objects())
        if call == "put" and "/objects/" in path:  # a single torn ledger is that of an empty folder
            seen.append({f"/bucket/run/{name}" for name in LEDGERS} <= faulty.store.keys())

    faulty.fault = staticmethod(fault)
    train(tmp_path / "here")
    assert len(seen) > 3
    assert all(seen)


@pytest.mark.parametrize("what", ["put", "get"])
def test_an_outage_of_any_call_costs_no_training_and_loses_nothing(
    faulty: Faulty, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    broken = [12]

    def fault(call: str, path: str) -> str | None:
        if call == what and "/objects/" in path and broken[0]:
            broken[0] -= 1
            if call == "put" and broken[0] % 2:
                return "torn"
            raise ConnectionError("no route to host")
        if call == what == "get" and "claim" in path and len(faulty.calls) > 12 and broken[0]:
            broken[0] -= 1
            raise TimeoutError
        return None

    faulty.fault = staticmethod(fault)
    weights = train(tmp_path / "here")
    assert broken[0] < 12
    assert weights == unbroken(tmp_path, 2)
    assert kept() == [10, 12]
    assert train(tmp_path / "there", 3, "auto") == unbroken(tmp_path / "3", 3)


def test_half_an_object_that_was_reported_as_whole_is_sent_again(
    faulty: Faulty, tmp_path: Path
) -> None:
    short = [30]

    def fault(call: str, path: str) -> str | None:
        if call == "put" and "/objects/" in path and short[0]:
            short[0] -= 1
            return "short"
        return None

    faulty.fault = staticmethod(fault)
    train(tmp_path / "here", 1)
    assert short[0] < 20
    assert download(Address(ADDRESS), tmp_path / "copy", "all") == 2


def test_an_outage_is_reported_once_and_its_end_too(
    faulty: Faulty, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [9]

    def fault(call: str, path: str) -> None:
        if call == "put" and "/objects/" in path and broken[0]:
            broken[0] -= 1
            raise ConnectionError("sftp://me:password@host is away")

    faulty.fault = staticmethod(fault)
    with caplog.at_level(logging.INFO):
        train(tmp_path / "here")
    lines = [record.getMessage() for record in caplog.records]
    assert sum("does not answer as it should" in line for line in lines) == 1
    assert sum("answers again" in line for line in lines) == 1
    assert "password" not in "\n".join(lines)


def test_what_is_left_at_the_limit_is_named_with_the_command(
    faulty: Faulty, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(call: str, path: str) -> None:
        if call == "put" and "/objects/" in path:
            raise ConnectionError("away for good")

    faulty.fault = staticmethod(fault)
    train(tmp_path / "here", 2, None, Upload(drain_seconds=0.2))
    assert f"trackside upload {tmp_path / 'here'}" in caplog.text
    assert "not all of the run is in faulty://bucket/run" in caplog.text
    assert ": 0 files" not in caplog.text
    assert kept() == []
    faulty.fault = staticmethod(lambda call, path: None)
    train(tmp_path / "here", 3, "auto")
    assert kept() == [16, 18]


def test_a_torn_ledger_leaves_the_one_before(faulty: Faulty, tmp_path: Path) -> None:
    train(tmp_path / "here")
    newest = f"/bucket/run/trackside.{contents().written % 2}.json"
    faulty.store[newest].seek(0)
    faulty.store[newest].truncate(100)
    assert kept()
    assert train(tmp_path / "there", 3, "auto") == unbroken(tmp_path, 3)


def test_objects_of_a_killed_upload_are_removed_by_the_next_session_and_others_left(
    faulty: Faulty, tmp_path: Path
) -> None:
    train(tmp_path / "here")
    left = "objects/" + "a" * 32 + "-5-abcdef01-0"
    for name in (left, "objects/mine.txt"):
        Store(Address(ADDRESS)).put(name, b"12345")
    train(tmp_path / "here", 3, "auto")
    assert left not in objects()
    assert "objects/mine.txt" in objects()


def test_what_was_saved_here_and_not_uploaded_when_it_went_on_elsewhere_is_set_aside(
    faulty: Faulty, tmp_path: Path
) -> None:
    train(tmp_path / "here", 1)
    full = dict.fromkeys(faulty.store)

    def fault(call: str, path: str) -> None:
        if call == "put" and "/objects/" in path:
            raise ConnectionError("away")

    faulty.fault = staticmethod(fault)
    train(tmp_path / "here", 2, "auto", Upload(drain_seconds=0.0))
    faulty.fault = staticmethod(lambda call, path: None)
    assert full
    train(tmp_path / "there", 2, "auto")
    assert train(tmp_path / "here", 3, "auto") == unbroken(tmp_path, 3)
    assert [one.name[:10] for one in (tmp_path / "here/checkpoints").glob("aside-*")] == [
        "aside-step"
    ] * 2


def test_a_checkpoint_that_was_changed_there_is_passed_over(
    faulty: Faulty, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path / "here")
    newest = contents().of_run(contents().run_id)[-1]
    weights = next(one for name, one in newest.files.items() if name.endswith("tensors"))
    Store(Address(ADDRESS)).put(weights.parts[0].name, b"0" * weights.size_bytes)
    train(tmp_path / "there", 3, "auto")
    assert "passed over step-0000000012" in caplog.text


def test_a_store_that_refuses_is_met_before_the_first_step(
    faulty: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "START_SECONDS", 0.05)

    def fault(call: str, path: str) -> None:
        raise PermissionError("access denied")

    faulty.fault = staticmethod(fault)
    with pytest.raises(UsageError, match="can't be used: PermissionError: access denied"):
        train(tmp_path / "here")


def test_a_run_that_saves_no_checkpoints_uploads_its_files(faulty: Faulty, tmp_path: Path) -> None:
    made = Trainer(
        torch.nn.Linear(3, 1),
        loss=torch.nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        defaults=False,
        settings=Settings(directory=ADDRESS, mirror=tmp_path / "here"),
    )
    made.fit(DATA, batch_size=2, epochs=1)
    assert "run.json" in contents().files


def test_another_run_in_the_folder_keeps_its_checkpoints(faulty: Faulty, tmp_path: Path) -> None:
    train(tmp_path / "one", 1)
    first = contents().run_id
    train(tmp_path / "two", 1)
    assert contents().run_id != first
    assert len(contents().of_run(first)) == len(kept()) == 2
