"""The pages for people who come from elsewhere say what the code does."""

from __future__ import annotations

import re

import pytest

import trackside.callbacks
from tests.dialects.compared import PAGE, with_rows
from tests.dialects.pages import FOLDER, PAGES, TABLE, hook_table, page
from trackside.lifecycle.adoption import DIALECTS


@pytest.mark.parametrize("dialect", PAGES)
def test_the_table_of_a_page_is_that_of_the_dialect(dialect: str) -> None:
    found = TABLE.search(page(dialect).read_text())

    assert found is not None
    assert found.group() == hook_table(dialect), "run python -m tests.dialects.pages"


def test_every_dialect_has_a_page_and_is_in_the_index() -> None:
    assert set(PAGES) == set(DIALECTS.values())
    index = (FOLDER / "README.md").read_text()
    assert all(f"({name}.md)" in index for name in PAGES.values())


@pytest.mark.parametrize("dialect", PAGES)
def test_the_built_ins_that_a_page_names_as_ours_exist(dialect: str) -> None:
    text = page(dialect).read_text()
    _, _, section = text.partition("\n## Built-ins\n")
    rows = re.findall(r"^\| (?!theirs|---)[^|]+ \| ([^|]+) \|", section, re.M)
    names = {name for row in rows for name in re.findall(r"`([A-Z]\w+)", row)}

    assert rows
    for name in names - {"Settings", "Trainer"}:
        assert getattr(trackside.callbacks, name) is not None


def test_the_table_of_what_was_compared_is_on_its_page() -> None:
    text = PAGE.read_text()

    assert with_rows(text) == text, "run python -m tests.dialects.compared"
