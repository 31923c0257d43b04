"""Reasons to end a run: plateaus, limits, values that went wrong."""

from __future__ import annotations
