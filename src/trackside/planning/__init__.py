"""Before the first step: the plan of a run, and the checks that refuse it."""

from __future__ import annotations
