"""Callbacks written for other frameworks: one file each, a table of their hooks and what they see.

Nothing here is imported by a run that uses none of it; `trackside.adoption` brings what is needed.
"""

from __future__ import annotations
