"""Packages of callbacks that the quick tests may lack: `make trackers` installs each on its own."""

from __future__ import annotations

import pytest

PACKAGES = {"trackio": "trackio", "dvclive": "dvclive", "ray_tune": "ray"}
"""Name of the callback, and its package."""


def skip_without_package(callback: str) -> None:
    """Skip a test of a callback whose package isn't here."""
    if callback in PACKAGES:
        pytest.importorskip(PACKAGES[callback], reason="make trackers")
