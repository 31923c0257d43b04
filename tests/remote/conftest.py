"""A store that fails on demand, and waits that take no time."""

from __future__ import annotations

import pytest

from tests.remote.faulty import FaultyFileSystem, install
from trackside.remote import claim, patience


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> type[FaultyFileSystem]:
    monkeypatch.setattr(patience, "FIRST_SECONDS", 0.001)
    monkeypatch.setattr(patience, "LONGEST_SECONDS", 0.01)
    monkeypatch.setattr(claim, "RENEWED_SECONDS", 60.0)
    return install()
