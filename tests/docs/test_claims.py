"""Every claim of the README stands in the table of claims, with tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "claims.md"
ROW = re.compile(r"^\| (?P<claim>.+?) \| (?P<tests>.+?) \|$", re.M)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
FIGURES = re.compile(r"`(benchmarks/\w+\.py)`")


def sentences(readme: str) -> list[str]:
    """The sentences of the README up to its list of pages, as plain text."""
    text = readme.partition("## Where to go next")[0]
    text = re.sub(r"^```.*?^```$", "\n", text, flags=re.M | re.S)
    text = re.sub(r"^!\[.*$", "", text, flags=re.M)  # pictures
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\*\*[^*]+\.\*\*", "", text).replace("**", "")  # a heading of what follows
    found: list[str] = []
    for block in re.split(r"\n\s*\n|\n(?=- )", text):
        words = " ".join(block.split()).removeprefix("- ")
        if words and not words.startswith("#"):
            found += re.split(r"(?<=[.:])\s+(?=[A-Z`])", words)
    return found


def rows() -> dict[str, str]:
    found = ROW.findall(PAGE.read_text())
    return {claim: tests for claim, tests in found if claim not in ("claim", "---")}


def test_every_sentence_of_the_readme_is_in_the_table_and_no_other() -> None:
    assert list(rows()) == sentences((ROOT / "README.md").read_text())


@pytest.mark.parametrize(("claim", "tests"), list(rows().items()))
def test_a_claim_names_tests_that_exist(claim: str, tests: str) -> None:
    named = TEST.findall(tests)
    assert named or FIGURES.findall(tests)
    for file, name in named:
        assert re.search(rf"^ *def {name}\(", (ROOT / file).read_text(), re.M), name
    for file in FIGURES.findall(tests):
        assert (ROOT / file).exists()


def test_a_sentence_is_found_without_its_links_and_its_heading() -> None:
    readme = "# It\n\nOne [way](a.md).\nTwo: `b`\n\n```sh\nNo.\n```\n\n- **Head.** Three\n  go.\n"

    assert sentences(readme) == ["One way.", "Two:", "`b`", "Three go."]
