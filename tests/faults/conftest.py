from __future__ import annotations

import pytest

from tests.faults.figures import PROPERTY, Figure


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Tell a figure of the fault suite; see `tests.faults.figures`."""

    def tell(row: str, what: str, **more: object) -> None:
        told = {"row": row, "what": what, "passed": None, "of": 1, "largest": None}
        request.node.user_properties.append((PROPERTY, {**told, "unit": "", "note": "", **more}))

    return tell
