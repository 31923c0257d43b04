"""Small files of JSON in a run's folder, which may hold anything: read without trusting them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trackside.run_folder.inside import read_inside

LIMIT_BYTES = 16 * 2**20


def read_json(path: Path) -> dict[str, Any]:
    """A small file with a JSON object; empty where there is none that can be read."""
    return look_into(path)[0]


def look_into(path: Path) -> tuple[dict[str, Any], str]:
    """The JSON object in a small file, and why there is none: empty where no file is, too."""
    try:
        content = json.loads(read_inside(path.parent, path.name, limit_bytes=LIMIT_BYTES))
    except FileNotFoundError:
        return {}, ""
    except OSError as error:
        return {}, f"{path.name} can't be read ({error.strerror})"
    except (ValueError, RecursionError):
        return {}, f"{path.name} is not JSON"
    if not isinstance(content, dict):
        return {}, f"{path.name} holds no JSON object"
    return content, ""
