"""The claim of a remote folder."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from tests.remote.faulty import FaultyFileSystem
from trackside.remote.address import Address
from trackside.remote.claim import CLAIM, STALE_SECONDS, RemoteClaim, RemoteClaimedError
from trackside.remote.patience import Patience
from trackside.remote.store import Store
from trackside.run_folder.process import this_process

Faulty = type[FaultyFileSystem]


@pytest.fixture
def store(faulty: Faulty) -> Store:
    return Store(Address("faulty://bucket/run"))


PATIENCE = "faulty://bucket/run", "", 1.0


def of_another_machine(store: Store, renewed: int = 0) -> None:
    process = dataclasses.replace(this_process(), host="elsewhere", job="")
    content = {"session": "deadbeef", "renewed": renewed, "process": process.as_dict()}
    store.put(CLAIM, json.dumps(content).encode())


def claim(store: Store, wait: Any = lambda seconds: None) -> RemoteClaim:
    return RemoteClaim(store, "abcdef01", "run", wait)


def test_two_runs_of_one_process_do_not_get_one_folder(store: Store) -> None:
    first = claim(store)
    first.acquire(Patience(*PATIENCE))
    with pytest.raises(RemoteClaimedError, match="another run uploads"):
        RemoteClaim(store, "12345678", "other", lambda s: None).acquire(Patience(*PATIENCE))
    first.release()
    assert store.size(CLAIM) is None


def test_a_claim_that_is_renewed_is_of_a_run_that_lives(store: Store) -> None:
    of_another_machine(store)
    with pytest.raises(RemoteClaimedError, match="elsewhere"):
        claim(store, lambda seconds: of_another_machine(store, 1)).acquire(Patience(*PATIENCE))


def test_a_claim_that_nobody_renews_is_taken_over(store: Store) -> None:
    of_another_machine(store)
    waits: list[float] = []
    mine = claim(store, waits.append)
    mine.acquire(Patience(*PATIENCE))
    assert sum(waits) == STALE_SECONDS
    assert mine.is_mine(Patience(*PATIENCE))
    mine.release()


def test_one_that_lost_the_folder_leaves_the_claim_of_the_other(store: Store) -> None:
    mine = claim(store)
    mine.acquire(Patience(*PATIENCE))
    of_another_machine(store)
    assert not mine.is_mine(Patience(*PATIENCE))
    mine.release()
    assert store.size(CLAIM)


def test_a_claim_shows_no_command_line(store: Store) -> None:
    mine = claim(store)
    mine.acquire(Patience(*PATIENCE))
    assert json.loads(store.get(CLAIM, 10_000))["process"]["command"] == "run run"
    mine.release()
