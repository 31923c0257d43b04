"""Proofs about a run that is over: a step made again, and what made it as it was."""

from __future__ import annotations
