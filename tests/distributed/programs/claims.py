"""How a program that runs on several ranks reports to its test: one line of JSON per claim."""

from __future__ import annotations

import json
from typing import Any


def claim(name: str, value: Any) -> None:
    """Report `value` under `name`; the test compares it, over all ranks."""
    print("CLAIM " + json.dumps([name, value]), flush=True)
