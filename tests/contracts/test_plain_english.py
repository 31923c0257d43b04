"""Words that make sentences hard to read: their number in `src` may fall, and never rises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "trackside"

# Word, as a pattern; the greatest allowed number of lines; what to write instead.
WORDS = {
    "anew": (r"\banew\b", 0, "`again`, `new` or `fresh`"),
    "told": (r"\btold\b", 10, "`reported`, `announced` or `asked`"),
    "tells": (r"\btells?\b", 55, "`says`, `reports` or `shows`"),
    "wish": (r"\b[Ww]ish(es)?\b", 0, "`request` or `command`"),
    "is no": (r"\b(?<!there )is no\b", 30, "`isn't a` or `must be`"),
    "of its own": (r"\bof its own\b", 18, "`its own ...`, `separate` or `another`"),
    "somebody": (r"\b([Ss]ome|[Ee]very)body\b", 9, "the role: a callback, a user, a rank"),
    "shall": (r"\bshall\b", 0, "`must` or `will`"),
    "for ever": (r"\bfor ever\b", 0, "`forever`"),
    "What ...": (
        r'^\s*"""(What|Who|Whoever|Which|Whose)\b',
        0,
        "a noun or a verb as the first word",
    ),
}


def lines_with(pattern: str) -> list[str]:
    found = re.compile(pattern)
    return [
        f"{path.relative_to(SOURCE)}:{number}: {line.strip()}"
        for path in sorted(SOURCE.rglob("*.py"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if found.search(line)
    ]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_that_makes_sentences_hard_to_read_gets_rarer(word: str) -> None:
    pattern, most, instead = WORDS[word]
    found = lines_with(pattern)
    assert len(found) <= most, (
        f"{len(found)} lines with `{word}`, at most {most}: write {instead}\n" + "\n".join(found)
    )
