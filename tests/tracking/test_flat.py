from __future__ import annotations

from typing import Any

from trackside.tracking.flat import flat


def test_nested_settings_become_one_level() -> None:
    settings: dict[str, Any] = {
        "model": {"layers": [32, 64], "bias": True},
        "seed": None,
        "tags": [],
    }

    assert flat(settings) == {
        "model/layers/0": 32,
        "model/layers/1": 64,
        "model/bias": True,
        "seed": None,
        "tags": [],
    }


def test_text_is_no_container() -> None:
    assert flat({"name": "abc"}) == {"name": "abc"}


def test_nothing_is_nothing() -> None:
    assert flat({}) == {}
