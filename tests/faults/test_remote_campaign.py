"""R25, R26: kills and outages at random moments: the remote folder can always be resumed from."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.faults.figures import Figure
from tests.faults.programs.remote_run import life
from tests.forks import FORKS, start_server
from tests.remote.faulty import FaultyFileSystem, install
from tests.remote.runs import ADDRESS, train, unbroken
from trackside import checkpoint
from trackside.callbacks import Upload
from trackside.remote import copies, patience
from trackside.remote.address import Address
from trackside.remote.fetching import read_contents
from trackside.remote.patience import Patience
from trackside.remote.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EPOCHS = 3


def lived(address: str, mirror: Path, kill_at: int | None = None) -> tuple[int, Any] | None:
    """One process; None where it was killed."""
    start_server()
    line, other_end = FORKS.Pipe()
    process = FORKS.Process(target=life, args=(address, str(mirror), EPOCHS, kill_at, other_end))
    process.start()
    other_end.close()
    try:
        answer: tuple[int, Any] | None = line.recv()
    except EOFError:
        answer = None
    process.join()
    line.close()
    assert (process.exitcode == 0) == (answer is not None), process.exitcode
    return answer


def newest_there(address: str) -> int:
    """The step up to which the remote folder has the run, every checkpoint of it verified."""
    contents = read_contents(Store(Address(address)), Patience(address, "", 5.0))
    return max((kept.entry.step for kept in contents.checkpoints.values()), default=0)


def whole(address: str, folder: Path) -> int:
    """Bring all that the ledger names; how many checkpoints verified."""
    if not newest_there(address):
        return 0
    count = copies.download(Address(address), folder, "all")
    found = checkpoint.candidates(folder / "checkpoints")
    assert all(checkpoint.verify(one.path).ok for one in found)
    assert len(found) == count
    return count


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Any]:
    """The same training, never killed: how many moments there are, and its weights."""
    folder = tmp_path_factory.mktemp("honest")
    answer = lived(f"file://{folder}/remote", folder / "mirror")
    assert answer is not None
    assert answer[1] == unbroken(folder, EPOCHS)
    return answer


@pytest.mark.parametrize("seed", range(50))
def test_after_a_kill_the_run_goes_on_bitwise_from_the_remote_folder(
    seed: int, tmp_path: Path, honest: tuple[int, Any], figure: Figure
) -> None:
    figure("R25", "killed at a moment of an upload, `file://`: all there whole, bitwise elsewhere")
    moments, weights = honest
    dice = random.Random(seed)
    address = f"file://{tmp_path}/remote"
    before = 0
    for number in range(dice.randint(1, 2)):  # killed once, or again in its second life
        if lived(address, tmp_path / "mirror", dice.randint(1, moments // 2)) is not None:
            break
        whole(address, tmp_path / f"copy{number}")
        now = newest_there(address)
        assert now >= before  # nothing that was there is lost
        before = now
    answer = lived(address, tmp_path / "elsewhere")
    assert answer is not None
    assert answer[1] == weights
    assert newest_there(address) == 18


@pytest.mark.parametrize("seed", range(50))
def test_through_outages_training_goes_on_and_nothing_is_lost(
    seed: int, tmp_path: Path, figure: Figure, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure("R26", "outages at random moments, torn writes: nothing lost, bitwise elsewhere")
    monkeypatch.setattr(patience, "FIRST_SECONDS", 0.001)
    monkeypatch.setattr(patience, "LONGEST_SECONDS", 0.02)
    faulty = install()
    dice = random.Random(seed)
    down = [0]

    def fault(call: str, path: str) -> str | None:
        if down[0]:
            down[0] -= 1
            if call == "put" and dice.random() < 0.5:
                return "torn"
            raise dice.choice([ConnectionError, TimeoutError, PermissionError])("away")
        if dice.random() < 0.1:
            down[0] = dice.randint(1, 12)
        return None

    faulty.fault = staticmethod(fault)
    stays_away = seed % 5 == 0  # the store comes back only after the run
    upload = [Upload(drain_seconds=0.0)] if stays_away else []
    assert train(tmp_path / "here", 2, None, *upload) == unbroken(tmp_path, 2)
    faulty.fault = staticmethod(lambda call, path: None)
    if stays_away:
        copies.upload(tmp_path / "here", None, 60.0, lambda files, size: None)
    # The command keeps what is there: it doesn't know what the run's rules are.
    assert whole(ADDRESS, tmp_path / "copy") in ((2, 3, 4) if stays_away else (2,))
    assert newest_there(ADDRESS) == 12
    assert train(tmp_path / "there", EPOCHS, "auto") == unbroken(tmp_path / "3", EPOCHS)
    assert FaultyFileSystem.store
