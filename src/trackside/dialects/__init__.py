"""Callbacks written for other frameworks: a folder each, with a table of their hooks.

A run that uses none of it imports nothing here; `lifecycle/adoption.py` brings what is needed.
"""

from __future__ import annotations
