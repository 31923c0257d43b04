"""Tables of names: words of other trainers, former names, and which way a metric is better."""

from __future__ import annotations
