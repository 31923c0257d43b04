from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoint.states import ThreadRanks, equal, on_ranks, rank_state, small_state
from trackside.checkpoint import (
    CheckpointWriteError,
    CheckpointWriter,
    DamagedCheckpointError,
    NoValidCheckpointError,
    Retention,
    Saved,
    Saving,
    newest_valid,
    open_checkpoint,
    verify,
)


def save(root: Path, ranks: ThreadRanks, **options: Any) -> Saved:
    writer = CheckpointWriter(root, "run", ranks=ranks, **options)
    # Under DDP all ranks hold the same; a difference shows whose was written.
    state = {**small_state(ranks.rank), "large": torch.full((40,), float(ranks.rank))}
    writer.save(state, Saving(step=7, reason="test"), rank_state=rank_state(ranks.rank))
    writer.close()
    [saved] = writer.poll()
    return saved


@pytest.mark.parametrize("background", [True, False])
def test_every_rank_gets_the_same_checkpoint(tmp_path: Path, background: bool) -> None:
    results = on_ranks(3, lambda ranks: save(tmp_path, ranks, background=background))
    saved = [result for result in results if isinstance(result, Saved)]
    assert len(saved) == 3, results
    assert {each.path for each in saved} == {tmp_path / "step-0000000007"}
    assert saved[0].manifest == saved[1].manifest == saved[2].manifest
    assert saved[0].manifest.world_size == 3


def test_the_shared_state_is_that_of_rank_zero_and_each_rank_has_its_own(tmp_path: Path) -> None:
    on_ranks(3, lambda ranks: save(tmp_path, ranks))
    checkpoint = open_checkpoint(tmp_path / "step-0000000007")
    assert equal(checkpoint.state(), {**small_state(0), "large": torch.zeros(40)})
    for rank in range(3):
        assert equal(checkpoint.rank_state(rank), rank_state(rank))


@pytest.mark.parametrize("failing", [0, 2])
def test_an_error_on_one_rank_is_raised_on_all_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    import trackside.checkpoint.commit as commit

    write_part = commit._write_part

    def write(folder: Path, snapshot: Any, rank: int, *rest: Any) -> Any:
        if rank == failing:
            raise OSError(28, "No space left on device", "the disk of one rank")
        return write_part(folder, snapshot, rank, *rest)

    monkeypatch.setattr(commit, "_write_part", write)
    results = on_ranks(3, lambda ranks: save(tmp_path, ranks))
    assert all(isinstance(result, CheckpointWriteError) for result in results), results
    assert all("the disk of one rank: no space left" in str(result) for result in results)
    others = [str(result) for rank, result in enumerate(results) if rank != failing]
    assert all(f"rank {failing}" in text for text in others)
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.run.json"]


def test_a_folder_that_rank_zero_cannot_make_is_an_error_on_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    results = on_ranks(2, lambda ranks: save(tmp_path / "file" / "checkpoints", ranks))
    assert all(isinstance(result, CheckpointWriteError) for result in results)


def test_a_file_that_rank_zero_does_not_see_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trackside.checkpoint.commit as commit

    write_part = commit._write_part

    def elsewhere(folder: Path, snapshot: Any, rank: int, *rest: Any) -> Any:
        if rank == 1:  # as if rank 1 had a disk of its own
            folder = tmp_path / "other disk"
            folder.mkdir()
        return write_part(folder, snapshot, rank, *rest)

    monkeypatch.setattr(commit, "_write_part", elsewhere)
    results = on_ranks(2, lambda ranks: save(tmp_path / "run", ranks))
    assert all("rank 0 sees 0 bytes" in str(result) for result in results), results


def test_ranks_share_the_reading_and_agree_on_what_is_damaged(tmp_path: Path) -> None:
    on_ranks(2, lambda ranks: save(tmp_path, ranks))
    folder = tmp_path / "step-0000000007"
    for name in ("rank-00000.json", "rank-00001.json"):
        (folder / name).write_text("{}")
    reports = on_ranks(2, lambda ranks: verify(folder, ranks=ranks))
    assert reports[0] == reports[1]
    assert {text.split()[0] for text in reports[0].problems} == {  # type: ignore[union-attr]
        "rank-00000.json",
        "rank-00001.json",
    }
    for call in (open_checkpoint, lambda _, ranks: newest_valid(tmp_path, ranks=ranks)):
        errors = on_ranks(2, lambda ranks, call=call: call(folder, ranks=ranks))  # type: ignore[misc]
        assert {type(error) for error in errors} <= {DamagedCheckpointError, NoValidCheckpointError}
        assert str(errors[0]) == str(errors[1])


def test_ranks_select_the_same_checkpoint(tmp_path: Path) -> None:
    on_ranks(2, lambda ranks: save(tmp_path, ranks))
    first, second = on_ranks(2, lambda ranks: newest_valid(tmp_path, ranks=ranks))
    assert first.checkpoint.path == second.checkpoint.path  # type: ignore[union-attr]


def test_only_rank_zero_deletes(tmp_path: Path) -> None:
    def save_twice(ranks: ThreadRanks) -> list[Saved]:
        writer = CheckpointWriter(tmp_path, "run", ranks=ranks, retention=Retention(keep_last=1))
        for step in (1, 2):
            writer.save(small_state(), Saving(step=step))
        writer.close()
        return writer.poll()

    results = on_ranks(2, save_twice)
    assert [saved.deleted for saved in results[0]] == [(), ("step-0000000001",)]  # type: ignore[union-attr]
    assert [saved.deleted for saved in results[1]] == [(), ()]  # type: ignore[union-attr]
