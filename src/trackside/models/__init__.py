"""The models of a run: their names, paths to what is in them, compilation."""

from __future__ import annotations
