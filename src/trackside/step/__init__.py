"""The mathematics of one step: outputs, metrics, optimization, precision."""

from __future__ import annotations
