"""Callbacks that evaluate: on a schedule of their own, over any named data, in data set order."""

from __future__ import annotations
