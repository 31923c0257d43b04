"""The site in a real browser, from the disk and without a network: search finds a word's page."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import Page, chromium

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]  # a build takes a minute or two

REPOSITORY = Path(__file__).resolve().parents[2]
FOUND = "#search-results a"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sphinx", reason="needs the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    build = ["-q", "-W", "--keep-going", "-b", "html", "-c", "docs/site"]
    subprocess.run(
        [sys.executable, "-m", "sphinx", *build, "-d", str(folder / "trees"), ".", str(folder)],
        cwd=REPOSITORY,
        check=True,
    )
    return folder


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("EarlyStopping", "docs/reference/callbacks/early_stopping.html"),
        ("imbalanced", "docs/how-to/imbalanced-data.html"),
        ("gradient clip", "docs/reference/python/trainer.html"),
        ("trackside sweep", "docs/reference/commands.html"),
    ],
)
def test_a_word_that_is_typed_finds_its_page(
    site: Path, driver: Any, words: str, place: str
) -> None:
    page = Page.opened(driver, site / "index.html", drawn=False)
    page.wait_until("return document.querySelector('input[name=q]') !== null")  # led on from there
    field = driver.find_element("css selector", "input[name=q]")
    field.send_keys(words)
    field.submit()
    page.wait_until("return document.body.innerText.includes('Search finished')")
    found = page.script(f"return [...document.querySelectorAll({FOUND!r})].map(e => e.href)")
    assert place in {link.removeprefix(f"{site.as_uri()}/").partition("#")[0] for link in found}
    assert [one for one in page.requests() if not one.startswith(("file:", "data:"))] == []
    assert page.complaints() == []


@pytest.mark.parametrize("width", [400, 900, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_no_wider_than_the_window(
    site: Path, driver: Any, width: int, scheme: str
) -> None:
    page = Page.opened(driver, site / "docs/tutorial.html", drawn=False)
    page.resize(width, scheme)
    assert page.script("return document.documentElement.scrollWidth") <= width
