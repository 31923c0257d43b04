"""Callbacks that watch the machine: speed, memory, ranks that lag, steps that hang."""

from __future__ import annotations
