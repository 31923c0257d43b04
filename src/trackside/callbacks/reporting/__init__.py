"""Callbacks that say what happens: in the terminal, in files, to trackers."""

from __future__ import annotations
