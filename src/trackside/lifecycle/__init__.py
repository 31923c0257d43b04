"""Who is called, when, and in which order; free of torch."""

from __future__ import annotations
