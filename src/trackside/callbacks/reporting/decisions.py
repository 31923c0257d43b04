"""Decisions of a run as plain values, for the files and pages that keep them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from trackside.errors import printable
from trackside.run import Run

LISTED = 1000
"""Decisions of a kind that are listed, the newest ones; all are counted."""


def decisions_of(run: Run) -> dict[str, Any]:
    """Skipped updates, epochs that were ended, returns to a checkpoint, halved batches, in all."""
    return {
        "skipped_steps": [
            {**asdict(one), "reason": printable(one.reason)} for one in run.skipped_steps[-LISTED:]
        ],
        "skipped_steps_in_all": len(run.skipped_steps),
        "ended_epochs": [
            {**asdict(one), "reason": printable(one.reason)} for one in run.ended_epochs[-LISTED:]
        ],
        "rollbacks": [
            {**asdict(one), "reason": printable(one.reason), "left_out": len(one.left_out)}
            for one in run.rollbacks[-LISTED:]
        ],
        "halvings": [{**asdict(one), "reason": printable(one.reason)} for one in run.halvings],
    }
