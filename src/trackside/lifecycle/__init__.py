"""Hooks, their listeners and the order of calls; free of torch."""

from __future__ import annotations
