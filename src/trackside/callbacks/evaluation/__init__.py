"""Evaluations on schedules of their own, over any named data, in data set order."""

from __future__ import annotations
