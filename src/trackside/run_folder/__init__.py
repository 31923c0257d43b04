"""The folder of a run: who has it, which run it is of, and how files in it are opened."""

from __future__ import annotations
