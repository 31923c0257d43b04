"""The store: file systems that connect as they are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.remote.faulty import FaultyFileSystem
from tests.remote.runs import train
from trackside import UsageError
from trackside.remote import copies, joining
from trackside.remote.address import Address


class Unreachable(FaultyFileSystem):
    """As one of SFTP, which connects in its constructor."""

    cachable = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        raise ConnectionError("no route to sftp://me:password@host")


@pytest.fixture
def unreachable(faulty: type[FaultyFileSystem], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "START_SECONDS", 0.05)
    monkeypatch.setattr(copies, "START_SECONDS", 0.05)
    fsspec.register_implementation("faulty", Unreachable, clobber=True)


def test_a_store_that_can_not_be_connected_to_is_met_before_the_first_step(
    unreachable: None, tmp_path: Path
) -> None:
    with pytest.raises(joining.RemoteUnreachableError, match="no route") as info:
        train(tmp_path / "here")
    assert "password" not in str(info.value)


def test_runs_in_a_store_that_is_away_are_not_said_to_be_none(unreachable: None) -> None:
    with pytest.raises(UsageError, match="can't be used: ConnectionError: no route"):
        copies.runs_below(Address("faulty://bucket"))
