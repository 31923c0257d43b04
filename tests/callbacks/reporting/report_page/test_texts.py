from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.callbacks.reporting.report_page.test_page import EVIL
from trackside.callbacks.reporting.report_page.page import render
from trackside.callbacks.reporting.report_page.reading import ReportedRun
from trackside.callbacks.reporting.report_page.texts import Written, texts_of


def put(folder: Path, step: int, content: Any) -> None:
    (folder / "texts").mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / f"texts/step-{step:010d}.json").write_text(text)


def test_the_newest_texts_are_shown(tmp_path: Path) -> None:
    put(tmp_path, 5, {"step": 5, "texts": []})
    put(tmp_path, 10, {"step": 10, "texts": [{"prompt": "a", "text": "ab"}]})

    assert texts_of(tmp_path) == Written(10, [("a", "ab")], others=1)


def test_a_folder_without_any_has_none(tmp_path: Path) -> None:
    assert texts_of(tmp_path) is None


@pytest.mark.parametrize("wrong", ["{", "[]", "null", "[" * 100_000])
def test_a_file_that_holds_none_is_passed_over(tmp_path: Path, wrong: str) -> None:
    put(tmp_path, 1, wrong)
    assert texts_of(tmp_path) is None


@pytest.mark.parametrize("wrong", [None, 3, "text", {"prompt": 3}, [3]])
def test_values_of_other_kinds_are_no_texts(tmp_path: Path, wrong: Any) -> None:
    put(tmp_path, 1, {"step": wrong, "texts": [wrong, {"prompt": wrong, "text": wrong}]})
    found = texts_of(tmp_path)
    assert found is not None
    assert all(isinstance(part, str) for pair in found.texts for part in pair)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    put(tmp_path / "elsewhere", 1, {"step": 1, "texts": []})
    (tmp_path / "texts").symlink_to(tmp_path / "elsewhere/texts")
    assert texts_of(tmp_path) is None


def test_the_report_shows_them_as_text_alone(tmp_path: Path) -> None:
    put(tmp_path, 7, {"step": 7, "texts": [{"prompt": EVIL, "text": EVIL}]})
    page = render([ReportedRun("mine", tmp_path)])

    assert "Texts after step 7" in page
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
