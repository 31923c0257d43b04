"""Search of options: a run described in a file, tried with many values."""

from __future__ import annotations
