"""From what a user gives as data to batches, at a position that is known."""

from __future__ import annotations
