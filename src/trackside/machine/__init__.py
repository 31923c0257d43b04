"""The machine that a run is on: its accelerators, random number generators and paths."""

from __future__ import annotations
