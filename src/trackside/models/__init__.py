"""The models of a run: their names, paths to their attributes, compilation."""

from __future__ import annotations
