"""The documents of other frameworks that the dialects keep to: where they are, their code blocks.

They are no part of this repository. They lie in the folder that the variable TRACKSIDE_DOCUMENTS
names, or in `shared/seeds` beside the repository; without them, tests that read them are skipped.
"""

from __future__ import annotations

import ast
import os
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
LITERAL = re.compile(r"^(?P<indent> *)(?:\.\. code-block:: (?P<language>\w+)|(?!\.\.).*::)$")


@dataclass(frozen=True)
class Block:
    """A block of code in a document."""

    line: int
    """Of its first line of code, from 1."""
    language: str
    code: str

    @property
    def parses(self) -> bool:
        """Whether it is Python as it stands."""
        try:
            ast.parse(self.code)
        except SyntaxError:
            return False
        return True


def folder() -> Path:
    """Where the documents are, or would be."""
    named = os.environ.get("TRACKSIDE_DOCUMENTS")
    return Path(named) if named else REPOSITORY.parent / "shared" / "seeds"


def document(number: int) -> str | None:
    """The text of a document by its number, or None where it isn't there."""
    found = sorted(folder().glob(f"{number:03d}_*.txt"))
    return found[0].read_text() if found else None


def blocks(text: str) -> list[Block]:
    """The code blocks of a document, Markdown's and reStructuredText's, in order."""
    found = [
        Block(text.count("\n", 0, match.start("code")) + 1, match["language"], match["code"])
        for match in FENCE.finditer(text)
    ]
    return found or list(_literal_blocks(text.splitlines()))


def _literal_blocks(lines: list[str]) -> list[Block]:
    found, index = [], 0
    while index < len(lines):
        match = LITERAL.match(lines[index])
        index += 1
        if match is None or lines[index - 1].strip() in (".. warning::", ".. note::", ".. Note::"):
            continue
        start = index
        while index < len(lines) and (not lines[index].strip() or _indented(lines[index], match)):
            index += 1
        code = textwrap.dedent("\n".join(lines[start:index]) + "\n")
        blank = len(code) - len(code.lstrip("\n"))
        found.append(
            Block(start + blank + 1, match["language"] or "python", code.strip("\n") + "\n")
        )
    return found


def _indented(line: str, match: re.Match[str]) -> bool:
    return line.startswith(match["indent"] + " ")
