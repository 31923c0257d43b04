"""Parts that trackers share: media, and delivery in the background."""

from __future__ import annotations
