"""The report of runs: one page in one file, which needs no service and no network."""

from __future__ import annotations
