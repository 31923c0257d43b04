"""The loop: training, evaluation, prediction, and the requests between two steps."""

from __future__ import annotations
