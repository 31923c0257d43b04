from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.faults.figures import PROPERTY, Figure


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Tell a figure of the fault suite; see `tests.faults.figures`."""

    def tell(row: str, what: str, **more: object) -> None:
        told = {"row": row, "what": what, "passed": None, "of": 1, "largest": None}
        request.node.user_properties.append((PROPERTY, {**told, "unit": "", "note": "", **more}))

    return tell


@pytest.fixture(scope="session", autouse=True)
def hangups_are_heard() -> Iterator[None]:
    """A suite that was started by `nohup` ignores SIGHUP, and so would each process it starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
