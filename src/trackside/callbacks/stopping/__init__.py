"""What ends a run: plateaus, limits, values that went wrong."""

from __future__ import annotations
