"""Before the first step: what a run will do, and what is refused."""

from __future__ import annotations
