"""R4: a damaged checkpoint is never loaded in silence; the older is used, and it is said why."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.checkpoint.states import equal, rank_state, small_state
from tests.faults.figures import Figure
from trackside.checkpoint import (
    CheckpointWriter,
    DamagedCheckpointError,
    NoValidCheckpointError,
    Saving,
    load,
    newest_valid,
    verify,
)

NAMES = (
    "manifest.json",
    "state.json",
    "rank-00000.json",
    "shard-00001-model-00001-of-00001.safetensors",
)


def state_of(step: int) -> dict[str, object]:
    return {**small_state(step), "step": step}


def save(root: Path, *steps: int) -> None:
    writer = CheckpointWriter(root, "run", background=False)
    for step in steps:
        own = {"torch": torch.arange(8, dtype=torch.uint8), "position": step}
        writer.save(state_of(step), Saving(step=step), rank_state=own)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("damage")
    save(root, 1)
    return root / "step-0000000001"


def assert_noticed(folder: Path, name: str) -> None:
    report = verify(folder)
    assert not report.ok
    assert report.problems[0].startswith(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_flip_of_any_byte_is_noticed_and_the_file_named(
    checkpoint: Path, name: str, figure: Figure
) -> None:
    path = checkpoint / name
    figure(
        "R4", "a flip of every byte of every file: noticed, the file named", of=path.stat().st_size
    )
    whole = path.read_bytes()
    chance = random.Random(name)
    try:
        for place in range(len(whole)):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << chance.randrange(8)
            path.write_bytes(flipped)
            assert_noticed(checkpoint, name)
    finally:
        path.write_bytes(whole)
    assert verify(checkpoint).ok


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_at_any_place_is_noticed_and_the_file_named(
    checkpoint: Path, name: str, figure: Figure
) -> None:
    path = checkpoint / name
    figure(
        "R4", "a cut at every place of every file: noticed, the file named", of=path.stat().st_size
    )
    whole = path.read_bytes()
    try:
        for length in reversed(range(len(whole))):
            os.truncate(path, length)
            assert_noticed(checkpoint, name)
    finally:
        path.write_bytes(whole)
    assert verify(checkpoint).ok


@pytest.mark.parametrize("name", NAMES)
def test_what_was_appended_is_noticed(checkpoint: Path, name: str) -> None:
    path = checkpoint / name
    whole = path.read_bytes()
    try:
        for more in (b"\0", b" ", b"\n", whole):
            path.write_bytes(whole + more)
            assert_noticed(checkpoint, name)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_another_checkpoint_is_noticed(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1, 2)
    mine, other = (tmp_path / f"step-000000000{step}" for step in (2, 1))
    shutil.copy(other / name, mine / name)
    if name == "manifest.json":  # now it is about other files
        assert not verify(mine).ok
    else:
        assert_noticed(mine, name)


Harm = Callable[[Path, random.Random], object]


def flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


def empty(path: Path, _: random.Random) -> None:
    os.truncate(path, 0)


def remove(path: Path, _: random.Random) -> None:
    path.unlink()


def zero_a_page(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    start = chance.randrange(len(data))
    data[start : start + 512] = bytes(len(data[start : start + 512]))
    path.write_bytes(data) if data != path.read_bytes() else path.unlink()


HARMS: tuple[Harm, ...] = (flip, cut, empty, remove, zero_a_page)


def fall_backs(root: Path, rounds: int, seed: int) -> int:
    """Damage the newest of two checkpoints in so many ways; how often the older was used."""
    save(root, 1, 2)
    newest, kept = root / "step-0000000002", root / "kept"
    shutil.copytree(newest, kept)
    chance, used = random.Random(seed), 0
    for _ in range(rounds):
        shutil.rmtree(newest)
        shutil.copytree(kept, newest)
        name, harm = chance.choice(NAMES), chance.choice(HARMS)
        harm(newest / name, chance)
        with pytest.raises(DamagedCheckpointError, match=name):
            load(newest)
        selection = newest_valid(root)
        assert selection is not None
        [passed_over] = selection.passed_over
        assert passed_over.path == newest
        assert passed_over.reason.startswith(name)
        used += equal(selection.checkpoint.state(), state_of(1))
    return used


def test_the_older_checkpoint_is_used_and_it_is_said_why(tmp_path: Path) -> None:
    assert fall_backs(tmp_path, rounds=30, seed=0) == 30


@pytest.mark.slow
def test_of_a_thousand_damaged_checkpoints_none_is_loaded(tmp_path: Path, figure: Figure) -> None:
    figure("R4", "damaged checkpoints loaded in silence", passed=0, of=1000)
    figure("R4", "fell back to the older, with a word why", of=1000)
    assert fall_backs(tmp_path, rounds=1000, seed=1) == 1000


@pytest.mark.slow
def test_a_flip_in_a_large_file_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, "run", background=False)
    writer.save({"weight": torch.randn(5_000_000)}, Saving(step=1), rank_state=rank_state())
    folder = tmp_path / "step-0000000001"
    [shard] = folder.glob("shard-*")
    chance = random.Random(0)
    with open(shard, "r+b") as file:
        for _ in range(300):
            place, bit = chance.randrange(shard.stat().st_size), 1 << chance.randrange(8)
            for back in (False, True):
                file.seek(place)
                [byte] = file.read(1)
                file.seek(place)
                file.write(bytes([byte ^ bit]))
                file.flush()
                assert verify(folder).ok == back


def test_when_all_are_damaged_it_is_an_error_that_lists_them(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3)
    for step, name in zip((1, 2, 3), NAMES, strict=False):
        flip(tmp_path / f"step-000000000{step}" / name, random.Random(0))
    with pytest.raises(NoValidCheckpointError) as caught:
        newest_valid(tmp_path)
    assert all(name in str(caught.value) for name in NAMES[:3])


def test_a_damaged_checkpoint_is_not_overwritten_by_the_run_that_goes_on(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    damaged = tmp_path / "step-0000000002" / "state.json"
    flip(damaged, random.Random(0))
    before = damaged.read_bytes()
    save(tmp_path, 2)
    assert damaged.read_bytes() == before
    selection = newest_valid(tmp_path)
    assert selection is not None
    assert selection.checkpoint.path.name == "step-0000000002-2"
