from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.callbacks.reporting.report_page.test_page import EVIL
from trackside.callbacks.reporting.report_page.page import render
from trackside.callbacks.reporting.report_page.reading import ReportedRun
from trackside.callbacks.reporting.report_page.texts import Written, texts_of
from trackside.run_folder.identity import identify


def put(folder: Path, step: int, content: Any, name: str = "generate") -> None:
    (folder / "texts" / name).mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / f"texts/{name}/step-{step:010d}.json").write_text(text)


def texts(step: int, word: str, run_id: str | None = None) -> dict[str, Any]:
    return {"step": step, "run_id": run_id, "texts": [{"prompt": "a", "text": word}]}


def test_the_newest_texts_are_shown(tmp_path: Path) -> None:
    put(tmp_path, 5, {"step": 5, "texts": []})
    put(tmp_path, 10, texts(10, "ab"))

    assert texts_of(tmp_path, 10) == [Written("texts/generate", 10, [("a", "ab")], others=1)]


def test_those_of_steps_that_were_dropped_are_not_shown(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        put(tmp_path, step, texts(step, f"at {step}"))

    assert [one.step for one in texts_of(tmp_path, 12)] == [10]
    assert texts_of(tmp_path, 4) == []


def test_those_of_another_run_are_not_shown(tmp_path: Path) -> None:
    identify(tmp_path, "mine")
    put(tmp_path, 5, texts(5, "of mine", "mine"))
    put(tmp_path, 6, texts(6, "of an earlier one", "other"))
    put(tmp_path, 6, texts(6, "of an earlier one", "other"), "gone")

    assert [(one.folder, one.step) for one in texts_of(tmp_path, 9)] == [("texts/generate", 5)]


def test_a_folder_without_any_has_none(tmp_path: Path) -> None:
    assert texts_of(tmp_path, 9) == []


@pytest.mark.parametrize("wrong", ["{", "[]", "null", "[" * 100_000])
def test_a_file_that_holds_none_is_passed_over(tmp_path: Path, wrong: str) -> None:
    put(tmp_path, 1, wrong)
    assert texts_of(tmp_path, 9) == []


@pytest.mark.parametrize("wrong", [None, 3, "text", {"prompt": 3}, [3]])
def test_values_of_other_kinds_are_no_texts(tmp_path: Path, wrong: Any) -> None:
    put(tmp_path, 1, {"step": wrong, "texts": [wrong, {"prompt": wrong, "text": wrong}]})
    (found,) = texts_of(tmp_path, 9)
    assert all(isinstance(part, str) for pair in found.texts for part in pair)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    put(tmp_path / "elsewhere", 1, {"step": 1, "texts": []})
    (tmp_path / "texts").symlink_to(tmp_path / "elsewhere/texts")
    assert texts_of(tmp_path, 9) == []


def test_the_report_shows_them_as_text_alone(tmp_path: Path) -> None:
    put(tmp_path, 7, {"step": 7, "texts": [{"prompt": EVIL, "text": EVIL}]})
    put(tmp_path, 6, texts(6, "of the other"), "other")
    page = render([ReportedRun("mine", tmp_path, step=7)])

    assert "Texts after step 7" in page
    assert "<code>texts/other</code>" in page
    assert page.count('id="texts"') == 1
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
