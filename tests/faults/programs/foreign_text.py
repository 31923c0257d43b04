"""A text that would do something if anybody ran it."""

from __future__ import annotations

FOREIGN = "__import__('os').getpid() # foreign"
"""In everything that a run keeps: nobody may compile it."""
