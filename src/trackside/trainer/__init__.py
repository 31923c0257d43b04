"""The trainer: settings, assembly of a run, its end."""

from __future__ import annotations
