from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.checkpoint.states import equal, rank_state, small_state
from trackside.checkpoint import (
    CheckpointWriteError,
    CheckpointWriter,
    Retention,
    Saving,
    UnsavableStateError,
    candidates,
    load,
    new_run_id,
    newest_valid,
    open_checkpoint,
)
from trackside.errors import ConfigurationError

FULL = OSError(errno.ENOSPC, "No space left on device")


@contextmanager
def held_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Saves don't get beyond their first file until the event is set (or the block is left)."""
    import trackside.checkpoint.commit as commit

    may_go, write_part = threading.Event(), commit._write_part

    def write(*arguments: Any) -> Any:
        assert may_go.wait(30)
        return write_part(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(commit, "_write_part", write)
        try:
            yield may_go
        finally:
            may_go.set()


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def full(*_: object) -> int:
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        yield


@pytest.mark.parametrize("background", [True, False])
def test_what_was_saved_is_loaded(tmp_path: Path, background: bool) -> None:
    writer = CheckpointWriter(tmp_path, "run", background=background)
    saving = Saving(
        step=1200,
        progress={"epochs_completed": 2},
        metrics={"val/loss": float(np.float32(0.5)), "val/broken": float("nan")},
        reason="every 1200 steps",
    )
    writer.save(small_state(), saving, rank_state=rank_state())
    writer.close()
    [saved] = writer.poll()
    checkpoint = open_checkpoint(saved.path)
    assert saved.path == tmp_path / "step-0000001200"
    assert equal(checkpoint.state(), small_state())
    assert equal(checkpoint.rank_state(0), rank_state())
    assert equal(load(saved.path), small_state())
    manifest = checkpoint.manifest
    assert manifest == saved.manifest
    assert (manifest.step, manifest.run_id, manifest.world_size) == (1200, "run", 1)
    assert manifest.progress == {"epochs_completed": 2}
    assert manifest.metrics == {"val/loss": 0.5}
    assert manifest.reason == "every 1200 steps"


def test_a_state_without_tensors_and_without_a_rank_s_own_is_saved(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, "run", background=False)
    writer.save({"epoch": 3}, Saving(step=1))
    [saved] = writer.poll()
    assert sorted(os.listdir(saved.path)) == ["manifest.json", "state.json"]
    assert load(saved.path) == {"epoch": 3}
    assert open_checkpoint(saved.path).rank_state(0) is None


def test_the_loop_may_change_the_state_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = CheckpointWriter(tmp_path, "run")
    state: dict[str, Any] = {"weight": torch.zeros(1000), "rows": [1]}
    with held_back(monkeypatch):
        writer.save(state, Saving(step=1))
        assert writer.in_flight
        assert writer.poll() == []
        state["weight"] += 1
        state["rows"].append(2)
    writer.close()
    assert equal(load(tmp_path / "step-0000000001"), {"weight": torch.zeros(1000), "rows": [1]})


def test_one_save_is_in_flight_and_the_next_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trackside.checkpoint.writer as module

    writer = CheckpointWriter(tmp_path, "run")
    under_way, most = 0, 0
    commit = module.__dict__["commit"]

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return commit(*arguments, **options)
        finally:
            under_way -= 1

    monkeypatch.setattr(module, "commit", counted)
    for step in range(1, 9):
        writer.save(small_state(step), Saving(step=step))
    writer.close()
    assert most == 1
    assert [saved.manifest.step for saved in writer.poll()] == list(range(1, 9))
    assert [saved.manifest.sequence for saved in writer.poll()] == []


def test_closing_waits_and_says_how_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = CheckpointWriter(tmp_path, "run")
    with held_back(monkeypatch) as may_go:
        writer.save(small_state(), Saving(step=1))
        released = threading.Timer(0.05, may_go.set)
        released.start()
        seconds = writer.close()
    assert seconds > 0
    assert writer.seconds_waited == seconds
    assert len(writer.poll()) == 1
    assert writer.close() == 0.0


@pytest.mark.parametrize("call", ["poll", "save", "close"])
def test_an_error_of_the_background_is_raised_by_the_next_call_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    writer = CheckpointWriter(tmp_path, "run")
    with full_disk(monkeypatch):
        writer.save(small_state(), Saving(step=1))
        writer._wait()
    calls: dict[str, Any] = {
        "poll": writer.poll,
        "save": lambda: writer.save(small_state(), Saving(step=2)),
        "close": writer.close,
    }
    with pytest.raises(CheckpointWriteError, match="no space left") as caught:
        calls[call]()
    assert caught.value.__cause__ is FULL
    assert writer.poll() == []


def test_after_an_error_the_writer_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = CheckpointWriter(tmp_path, "run")
    writer.save(small_state(1), Saving(step=1))
    writer._wait()
    with full_disk(monkeypatch):
        writer.save(small_state(2), Saving(step=2))
        with pytest.raises(CheckpointWriteError):
            writer.close()
    writer.save(small_state(3), Saving(step=3))
    writer.close()
    assert [saved.manifest.step for saved in writer.poll()] == [1, 3]
    assert [each.step for each in candidates(tmp_path)] == [3, 1]
    assert list(tmp_path.glob(".tmp-*")) == []


def test_without_background_the_error_is_that_of_the_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = CheckpointWriter(tmp_path, "run", background=False)
    with full_disk(monkeypatch), pytest.raises(CheckpointWriteError, match="no space left"):
        writer.save(small_state(), Saving(step=1))
    assert writer.poll() == []


def test_an_interrupt_during_a_save_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    writer = CheckpointWriter(tmp_path, "run", background=False)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.save(small_state(), Saving(step=1))
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.run.json"]


def test_a_state_that_cannot_be_saved_is_found_before_the_first_step(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, "run")
    named = pytest.raises(UnsavableStateError, match=r"callbacks\.logger\.handle: an open file")
    with named, open(os.devnull) as handle:
        writer.prepare({"callbacks": {"logger": {"handle": handle}}})
    estimate = writer.prepare(small_state(), rank_state())
    assert 0 < estimate.size_bytes < estimate.free_bytes
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.run.json"]


def test_a_step_that_is_saved_again_gets_a_name_of_its_own(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, "run", background=False)
    (tmp_path / "step-0000000005").mkdir()  # somebody's, and empty
    for seed in (1, 2):
        writer.save(small_state(seed), Saving(step=5))
    assert [saved.path.name for saved in writer.poll()] == [
        "step-0000000005-2",
        "step-0000000005-3",
    ]
    assert os.listdir(tmp_path / "step-0000000005") == []


def test_a_name_that_another_run_takes_at_the_last_moment_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = CheckpointWriter(tmp_path, "run", background=False)
    rename = os.rename

    def late(source: Any, target: Path) -> None:
        if target.name == "step-0000000005" and not target.exists():
            target.mkdir()
            (target / "theirs").write_text("")
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    writer.save(small_state(), Saving(step=5))
    [saved] = writer.poll()
    assert saved.path.name == "step-0000000005-2"
    assert os.listdir(tmp_path / "step-0000000005") == ["theirs"]


def test_a_resumed_run_counts_its_saves_on(tmp_path: Path) -> None:
    first = CheckpointWriter(tmp_path, "run", background=False)
    for step in (100, 200):
        first.save(small_state(), Saving(step=step))
    again = CheckpointWriter(
        tmp_path, "run", background=False, resumed_from=tmp_path / "step-0000000100"
    )
    again.save(small_state(), Saving(step=120))
    assert [each.step for each in candidates(tmp_path)] == [120, 200, 100]


def test_retention_is_applied_after_each_save(tmp_path: Path) -> None:
    retention = Retention(keep_last=1, keep_best=1, monitor="val/loss")
    writer = CheckpointWriter(tmp_path, "run", retention=retention)
    for step, loss in enumerate([0.5, 0.1, 0.9, 0.8], start=1):
        writer.save(small_state(), Saving(step=step, metrics={"val/loss": loss}))
    writer.close()
    assert [saved.deleted for saved in writer.poll()] == [
        (),
        ("step-0000000001",),
        (),
        ("step-0000000003",),
    ]
    assert [each.step for each in candidates(tmp_path)] == [4, 2]


def test_a_pinned_checkpoint_stays(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, "run", background=False, retention=Retention(keep_last=1))
    writer.save(small_state(), Saving(step=1, pinned=True))
    for step in (2, 3):
        writer.save(small_state(), Saving(step=step))
    assert [each.step for each in candidates(tmp_path)] == [3, 1]


def test_an_old_checkpoint_that_cannot_be_deleted_does_not_fail_the_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trackside.checkpoint.writer as module

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "the ledger")

    monkeypatch.setattr(module, "prune", refuse)
    writer = CheckpointWriter(tmp_path, "run", background=False)
    writer.save(small_state(), Saving(step=1))
    [saved] = writer.poll()
    assert saved.notes == ("old checkpoints were not deleted: the ledger: Permission denied",)


def test_leftovers_are_removed_at_the_next_start_and_noted(tmp_path: Path) -> None:
    CheckpointWriter(tmp_path, "run")
    (tmp_path / ".tmp-run.step-0000000001-abcd").mkdir()
    (tmp_path / ".tmp-other.step-0000000001-abcd").mkdir()
    [note] = CheckpointWriter(tmp_path, "run").notes
    assert ".tmp-run.step-0000000001-abcd" in note
    assert [path.name for path in tmp_path.glob(".tmp-*")] == [".tmp-other.step-0000000001-abcd"]


def test_a_folder_that_cannot_be_written_to_is_found_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_disk(monkeypatch), pytest.raises(CheckpointWriteError, match=str(tmp_path)):
        CheckpointWriter(tmp_path, "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointWriteError, match="can't be written to"):
        CheckpointWriter(tmp_path / "file", "run")


@pytest.mark.parametrize("run_id", ["", "a/b", "../x", "a.b"])
def test_an_id_that_could_lead_elsewhere_is_refused(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(ConfigurationError):
        CheckpointWriter(tmp_path, run_id)


def test_new_runs_have_different_ids(tmp_path: Path) -> None:
    first, second = new_run_id(), new_run_id()
    assert first != second
    CheckpointWriter(tmp_path, first)


def test_times_are_told(tmp_path: Path) -> None:
    for background in (True, False):
        writer = CheckpointWriter(tmp_path, "run", background=background)
        writer.save(small_state(), Saving(step=1))
        writer.close()
        [saved] = writer.poll()
        assert saved.seconds_blocked > 0
        assert saved.seconds_writing > 0
        assert background or saved.seconds_blocked > saved.seconds_writing


LEAVES_WITHOUT_CLOSING = """
import sys, torch
from trackside.checkpoint import CheckpointWriter, Saving
writer = CheckpointWriter(sys.argv[1], "run")
writer.save({"weight": torch.ones(20_000_000)}, Saving(step=1))
sys.exit(3)
"""


def test_an_exit_of_the_interpreter_does_not_cut_a_save(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEAVES_WITHOUT_CLOSING, str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == 3
    selection = newest_valid(tmp_path)
    assert selection is not None
    assert selection.checkpoint.state()["weight"].sum() == 20_000_000


def test_importing_the_package_does_not_import_torch_distributed_checkpoint() -> None:
    program = "import trackside.checkpoint, sys; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "torch.distributed.checkpoint" not in done.stdout.split()
