from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trackside import Settings
from trackside.callbacks import Checkpoint
from trackside.checkpoint.ledger import Ledger
from trackside.checkpoint.temporary import TemporaryFolder
from trackside.config.experiment.leftovers import leftovers, remove_leftovers
from trackside.run_folder.claim import holder
from trackside.run_folder.identity import identify, identity
from trackside.testing import tiny_regression


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("trained"), epochs=3)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def train(folder: Path, epochs: int, resume: int | None = None) -> Path:
    task = tiny_regression()
    saving, settings = [Checkpoint("1 epoch", background=False)], Settings(directory=folder)
    trainer = task.trainer(defaults=True, callbacks=saving, settings=settings)
    trainer.fit(task.train, task.validation, epochs=epochs, resume=resume)
    return folder


def id_of(folder: Path) -> str:
    found = identity(folder)
    assert found is not None
    return found.run_id


def names(found: list[Path]) -> list[str]:
    return sorted(path.name for path in found)


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_a_run_that_ended_well_has_none(run: Path) -> None:
    assert leftovers(run, former=True).found == []


def test_folders_of_killed_writers_are_removed_and_nothing_else(run: Path) -> None:
    before = everything(run)
    staged = run / "checkpoints" / ".tmp-0123456789abcdef.step-0000000009-0a1b2c3d"
    staged.mkdir()
    (staged / "state.json").write_text("{}")
    (run / ".tmp-0a1b2c3d-config.yaml").write_text("half")
    assert names([one.path for one in leftovers(run).found]) == [
        ".tmp-0123456789abcdef.step-0000000009-0a1b2c3d",
        ".tmp-0a1b2c3d-config.yaml",
    ]
    assert len(remove_leftovers(run).removed) == 2
    assert everything(run) == before


def test_a_folder_that_is_being_written_stays(run: Path) -> None:
    with TemporaryFolder(run / "checkpoints", "0123456789abcdef", "step-0000000009"):
        assert leftovers(run).found == []


def test_looking_changes_nothing_even_where_the_ledger_is_damaged(run: Path) -> None:
    ledger = run / "checkpoints" / f"ledger.{id_of(run)}.json"
    ledger.write_text("damaged")
    before = everything(run)
    found = leftovers(run, former=True)
    assert found.found == []
    assert "ledger of the run can't be read" in found.notes[0]
    assert everything(run) == before


def test_checkpoints_of_a_former_run_are_removed_only_where_asked(run: Path) -> None:
    former = names(list((run / "checkpoints").glob("step-*")))
    train(run, epochs=1)
    assert leftovers(run).found == []
    removed = [one.path.name for one in remove_leftovers(run, former=True).removed]
    assert set(former) <= set(removed)
    own = {entry.name for entry in Ledger(run / "checkpoints", id_of(run)).entries}
    assert {path.name for path in (run / "checkpoints").glob("step-*")} == own


def test_a_run_can_be_resumed_after_all_that_it_left_behind_is_gone(run: Path) -> None:
    first = min(int(path.name[5:15]) for path in (run / "checkpoints").glob("step-*"))
    train(run, epochs=2, resume=first)
    assert [one.why for one in remove_leftovers(run, former=True).removed]
    task = tiny_regression()
    trainer = task.trainer(defaults=True, settings=Settings(directory=run))
    result = trainer.fit(task.train, task.validation, epochs=3, resume="auto")
    assert result.outcome.step > first


def test_links_are_neither_followed_nor_removed(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").write_text("mine")
    link = run / "checkpoints" / ".tmp-0123456789abcdef.step-0000000009-0a1b2c3d"
    link.symlink_to(other)
    assert remove_leftovers(run, former=True).removed == []
    assert link.is_symlink()
    assert (other / "mine").exists()


def test_a_folder_of_checkpoints_that_is_a_link_is_left_alone(run: Path, tmp_path: Path) -> None:
    (run / "checkpoints").rename(tmp_path / "elsewhere")
    (run / "checkpoints").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / ".tmp-0123456789abcdef.x-0a1b2c3d").mkdir()
    found = remove_leftovers(run, former=True)
    assert found.removed == []
    assert "it is a link" in found.notes[0]


def test_a_checkpoint_with_files_of_others_stays(run: Path) -> None:
    (first := min((run / "checkpoints").glob("step-*"))).joinpath("notes.txt").write_text("mine")
    train(run, epochs=1)
    found = remove_leftovers(run, former=True)
    assert (first / "notes.txt").exists()
    assert any("notes.txt" in note for note in found.notes)


def test_a_run_that_goes_on_is_left_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / ".tmp-0a1b2c3d-config.yaml").write_text("half")
    module = "trackside.config.experiment.leftovers.holder"
    monkeypatch.setattr(module, lambda folder: "process 7 on this machine")
    found = remove_leftovers(run)
    assert holder(run) is None
    assert (found.found, found.removed) == ([], [])
    assert "process 7" in found.notes[0]


def test_a_folder_that_cannot_be_claimed_is_left_alone(run: Path) -> None:
    (half := run / ".tmp-0a1b2c3d-config.yaml").write_text("half")
    (run / ".claim.json").symlink_to("elsewhere")  # a run would go on here without a claim
    found = remove_leftovers(run)
    assert half.exists()
    assert found.removed == []
    assert "can't be claimed" in found.notes[0]


def test_the_newest_checkpoint_of_the_run_stays_though_its_ledger_lacks_it_and_others_are_newer(
    run: Path,
) -> None:
    root, own = run / "checkpoints", id_of(run)
    newest = max(root.glob("step-*"))
    train(run, epochs=1)  # another run, whose saves have higher numbers
    Ledger(root, own).remove(*(path.name for path in root.glob("step-*")))
    identify(run, own)  # as by a resume that was killed before its first save
    assert remove_leftovers(run, former=True).removed
    assert list(root.glob("step-*")) == [newest]
