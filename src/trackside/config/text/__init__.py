"""From text to values with places: YAML, layers, overrides, interpolation, problems."""

from __future__ import annotations
