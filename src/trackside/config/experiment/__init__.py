"""An experiment that is read from a file: built, planned, kept."""

from __future__ import annotations
