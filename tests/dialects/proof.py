"""Tables of abilities and promises, of the five systems and of hosts, each with its test here.

python -m tests.dialects.proof      writes the tables into docs/coming-from/README.md
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "coming-from" / "README.md"
NOT_YET = "not yet"
HEADING = "## Row by row"
_, *_PARTS = re.split(r"^# \w+\n", (TESTS / "dialects" / "proof.txt").read_text(), flags=re.M)
CAN_DO, PROMISES, DOCUMENTS, HOSTS = _PARTS
"""Rows of the four tables: a number, words, and the test as file and name or `not yet`."""


class Line(NamedTuple):
    """One row of a table."""

    number: str
    words: str
    file: str
    """Of the test, in the folder of tests; empty where there is none yet."""
    test: str


def lines(table: str) -> list[Line]:
    """The rows of a table."""
    found = []
    for row in table.strip().splitlines():
        number, words, place = (part.strip() for part in row.split(" | "))
        file, _, test = ("", "", "") if place == NOT_YET else place.partition(" ")
        found.append(Line(number, words, file, f"test_{test}" if test else ""))
    return found


def markdown(head: tuple[str, str], table: str) -> str:
    """A table in Markdown, each line with a link to its test."""
    text = f"| {head[0]} | {head[1]} | shown by |\n|---|---|---|\n"
    for line in lines(table):
        words = line.test.removeprefix("test_").replace("_", " ")
        shown = f"[{words}](../../tests/{line.file})" if line.file else NOT_YET
        text += f"| {line.number} | {line.words} | {shown} |\n"
    return text


def section() -> str:
    """The whole section of the page."""
    counts = [
        f"{sum(bool(line.file) for line in lines(table))} of {len(lines(table))} {noun}"
        for table, noun in (
            (CAN_DO, "rows"),
            (PROMISES, "promises"),
            (DOCUMENTS, "names and sentences"),
        )
    ]
    return "\n".join(
        [
            HEADING,
            "",
            "What the five systems can do, what their documents promise, and the test that shows "
            + "it here: "
            + ", ".join(counts)
            + ". A row may have more tests than the one that is named.",
            "",
            markdown(("row", "what they can do"), CAN_DO),
            markdown(("promise", "of the documents"), PROMISES),
            markdown(("document", "names and sentences"), DOCUMENTS),
            "Lightning (LI), Keras (KE), transformers (TR), guests (GU), exact resume as a library "
            + "(RE), loops by hand (HA):",
            "",
            markdown(("promise", "of modules, guests and hosts"), HOSTS),
        ]
    )


def names_in(file: Path) -> set[str]:
    """Names of the tests in a file."""
    return set(re.findall(r"^def (test_\w+)", file.read_text(), re.M))


if __name__ == "__main__":
    before = PAGE.read_text().partition(f"{HEADING}\n")[0].rstrip()
    PAGE.write_text(f"{before}\n\n{section()}".rstrip() + "\n")
