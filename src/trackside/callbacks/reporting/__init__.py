"""Reports of a run: in the terminal, in files, to trackers."""

from __future__ import annotations
