"""Values checked against constructors."""

from __future__ import annotations
