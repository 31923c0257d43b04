"""The machine, watched: speed, memory, ranks that lag, steps that hang."""

from __future__ import annotations
