"""When: training, evaluation, prediction, and what is taken between two steps."""

from __future__ import annotations
