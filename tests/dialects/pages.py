"""The tables of hooks in docs/coming-from, made of the dialects' own.

python -m tests.dialects.pages      writes them again
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from pathlib import Path

from trackside.dialects.translation import Row

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "coming-from"
PAGES = {
    "nn_handler": "nn_handler",
    "adaptive_neural_network": "adaptive-neural-network",
    "pytorch_accelerated": "pytorch-accelerated",
    "noether": "noether",
    "dream_trainer": "dream-trainer",
    "keras": "keras",
    "transformers": "transformers",
    "lightning": "lightning",
}
"""Page of each dialect."""

HEAD = "| their hook | carried by ours | when, and with what |\n|---|---|---|\n"
TABLE = re.compile(re.escape(HEAD) + r"(\|.*\|\n)*")


def page(dialect: str) -> Path:
    return FOLDER / f"{PAGES[dialect]}.md"


def hook_table(dialect: str) -> str:
    """The table of a dialect, in Markdown."""
    table: Mapping[str, Row] = import_module(f"trackside.dialects.{dialect}").TABLE
    lines = []
    for name, row in table.items():
        ours = ", ".join(f"`{hook}`" for hook in row.carriers) or "-"
        note = f"not supported: {row.missing}" if row.missing else row.note
        lines.append(f"| `{name}` | {ours} | {note} |\n")
    return HEAD + "".join(lines)


def _table_for(dialect: str, found: re.Match[str]) -> str:
    return hook_table(dialect)


if __name__ == "__main__":
    for dialect in PAGES:
        text = page(dialect).read_text()
        page(dialect).write_text(TABLE.sub(partial(_table_for, dialect), text))
