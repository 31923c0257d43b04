from __future__ import annotations

from pathlib import Path

from tests.checkpoint.states import small_state
from trackside.checkpoint import CheckpointWriter, Saving
from trackside.checkpoint.ledger import Entry, Ledger, names_listed, returns_of
from trackside.checkpoint.lineage import Return
from trackside.checkpoint.manifest import read_manifest
from trackside.checkpoint.sealed import seal, unseal


def saved(root: Path, run_id: str, *steps: int) -> Ledger:
    writer = CheckpointWriter(root, run_id, background=False)
    for step in steps:
        writer.save(small_state(step), Saving(step=step, metrics={"val/loss": 1 / step}))
    return Ledger(root, run_id)


def test_a_ledger_lists_what_its_run_has_written(tmp_path: Path) -> None:
    ledger = saved(tmp_path, "run", 1, 2)
    assert [(entry.name, entry.step, dict(entry.metrics)) for entry in ledger.entries] == [
        ("step-0000000001", 1, {"val/loss": 1.0}),
        ("step-0000000002", 2, {"val/loss": 0.5}),
    ]
    assert list(ledger.entries) == ledger.present()


def test_two_runs_in_one_folder_have_two_ledgers(tmp_path: Path) -> None:
    saved(tmp_path, "one", 1, 2)
    saved(tmp_path, "two", 2, 3)
    names = {run: [e.name for e in Ledger(tmp_path, run).entries] for run in ("one", "two")}
    assert names == {
        "one": ["step-0000000001", "step-0000000002"],
        "two": ["step-0000000002-2", "step-0000000003"],
    }


def test_an_entry_without_its_folder_is_that_of_a_killed_save(tmp_path: Path) -> None:
    ledger = saved(tmp_path, "run", 1)
    ledger.add(Entry("step-0000000002", 2, 2, "0" * 32))
    assert [entry.step for entry in Ledger(tmp_path, "run").entries] == [1]


def test_a_folder_that_somebody_put_in_place_is_not_the_one_listed(tmp_path: Path) -> None:
    ledger = saved(tmp_path, "run", 1)
    (tmp_path / "step-0000000001").rename(tmp_path / "mine")
    saved(tmp_path, "other", 1)
    assert read_manifest(tmp_path / "step-0000000001")[0].run_id == "other"
    assert ledger.present() == []


def test_a_link_in_the_place_of_a_folder_is_not_the_one_listed(tmp_path: Path) -> None:
    ledger = saved(tmp_path, "run", 1)
    (tmp_path / "step-0000000001").rename(tmp_path / "moved")
    (tmp_path / "step-0000000001").symlink_to("moved")
    assert ledger.present() == []


def test_a_damaged_ledger_is_put_aside_with_a_note_and_nothing_is_listed(tmp_path: Path) -> None:
    ledger = saved(tmp_path, "run", 1)
    data = bytearray(ledger.path.read_bytes())
    data[len(data) // 2] ^= 1
    ledger.path.write_bytes(data)
    again = Ledger(tmp_path, "run")
    assert again.entries == ()
    assert again.note is not None
    assert str(ledger.path) in again.note
    [aside] = tmp_path.glob("ledger.run.damaged-*")
    assert aside.read_bytes() == data


def test_the_ledger_of_another_run_under_this_name_is_not_believed(tmp_path: Path) -> None:
    saved(tmp_path, "other", 1).path.rename(tmp_path / "ledger.run.json")
    assert Ledger(tmp_path, "run").entries == ()


def test_names_are_those_of_the_run_s_own_ledger_or_not_known(tmp_path: Path) -> None:
    path = saved(tmp_path, "other", 1).path
    assert names_listed(tmp_path, "other") == frozenset({"step-0000000001"})
    path.rename(tmp_path / "ledger.run.json")
    assert names_listed(tmp_path, "run") is None


def test_protection_outlives_the_process(tmp_path: Path) -> None:
    ledger = saved(tmp_path, "run", 1)
    ledger.protect("step-0000000001")
    assert Ledger(tmp_path, "run").resumed_from == "step-0000000001"
    ledger.protect(None)
    assert Ledger(tmp_path, "run").resumed_from is None


def test_a_ledger_of_before_there_were_returns_is_read(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "run")
    ledger.protect("step-0000000001")
    content, _ = unseal(ledger.path.read_bytes())
    del content["returns"]
    ledger.path.write_bytes(seal(content))
    again = Ledger(tmp_path, "run")
    assert (again.note, again.resumed_from, again.returns) == (None, "step-0000000001", ())


def test_a_return_that_is_not_two_numbers_is_not_believed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "run")
    ledger.protect(None, Return(1, 2))
    content, _ = unseal(ledger.path.read_bytes())
    content["returns"] = [["1", "2"]]
    ledger.path.write_bytes(seal(content))
    assert returns_of(tmp_path, "run") == ()
    assert Ledger(tmp_path, "run").note is not None
