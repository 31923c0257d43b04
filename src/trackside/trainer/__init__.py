"""The front door."""

from __future__ import annotations
