"""The report in a real browser, with no network: what is drawn, read aloud, and moved by keys."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import Page, chromium
from trackside.callbacks.reporting.report_page.page import render
from trackside.callbacks.reporting.report_page.reading import ReportedRun
from trackside.history import History, Record

pytestmark = pytest.mark.browser
NAMES = ("train/loss", "val/loss", "lr/0")


def run(name: str, factor: float = 1.0, records: int = 50) -> ReportedRun:
    history = History()
    for step in range(1, records + 1):
        values = {n: factor * math.exp(-step / records * (i + 1)) for i, n in enumerate(NAMES)}
        history.append(Record(values, 10 * step, step // 5, 320 * step, 7.0 * step))
    return ReportedRun(name, Path(name), "completed", "reached epochs=10", history=history)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Page:
    (tmp_path / "report.html").write_text(render([run("mine")]), encoding="utf-8")
    return Page.opened(browser, tmp_path / "report.html")


def test_every_panel_is_drawn_and_nothing_is_complained_of(page: Page) -> None:
    assert page.count("figure canvas") == 2
    assert page.count("figure svg:not(.bar)") == 0
    assert page.complaints() == []


def test_the_page_asks_nothing_of_a_network(page: Page) -> None:
    assert page.requests() == [page.address]


@pytest.mark.parametrize("width", [360, 800, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_every_width_in_both_colours(page: Page, width: int, scheme: str) -> None:
    page.resize(width, scheme)
    assert page.script("return document.documentElement.scrollWidth <= innerWidth")
    background = page.script("return getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 30)"}[scheme]
    page.wait_until(  # curves are drawn again a little after the window has its width
        "return [...document.querySelectorAll('canvas')].every(c => c.getBoundingClientRect().right"
        " <= c.closest('figure').getBoundingClientRect().right)"
    )


def test_the_axis_can_be_chosen(page: Page) -> None:
    for axis, last in (
        ("step", "500"),
        ("epoch", "10"),
        ("samples", "16,000"),
        ("seconds", "5:50"),
    ):
        page.choose("axis", axis)
        page.key("figure .plot", "ArrowLeft")
        assert page.legend()[0] == last


def test_keys_move_the_cursor_of_all_panels_together(page: Page) -> None:
    page.key("figure .plot", "ArrowRight", times=3)
    first, second = page.legend(0), page.legend(1)
    assert first[0] == second[0] == "30"
    assert first[1] == f"{math.exp(-3 / 50):.6g}"


def test_smoothing_keeps_the_end_near_and_the_raw_values_behind(page: Page) -> None:
    page.set_value("smoothing", "0.9")
    page.key("figure .plot", "ArrowLeft")
    raw, smooth = (float(value) for value in page.legend()[1:3])
    values = [math.exp(-step / 50) for step in range(1, 51)]
    mean = mass = 0.0
    for value in values:
        mean, mass = 0.9 * mean + 0.1 * value, 0.9 * mass + 0.1
    assert raw == pytest.approx(values[-1], rel=1e-4)
    assert smooth == pytest.approx(mean / mass, rel=1e-4)


def test_a_word_leaves_only_the_panels_that_have_it(page: Page) -> None:
    page.set_value("filter", "lr")
    assert (
        page.script("return [...document.querySelectorAll('figure')].filter(f => !f.hidden).length")
        == 1
    )
    page.set_value("filter", "nothing of that name")
    assert page.script("return !document.getElementById('none').hidden")


def test_without_a_script_the_summary_and_static_curves_are_there(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(render([run("mine")]), encoding="utf-8")
    with chromium(scripts=False) as driver:
        page = Page.opened(driver, tmp_path / "report.html", drawn=False)
        assert "reached epochs=10" in page.text()
        assert page.count("figure polyline") == 3
        assert page.count("figure canvas") == 0


def test_runs_are_laid_over_each_other(browser: Any, tmp_path: Path) -> None:
    runs = [run("a"), run("b", 2.0), run("c", 3.0)]
    (tmp_path / "report.html").write_text(render(runs), encoding="utf-8")
    page = Page.opened(browser, tmp_path / "report.html")
    page.key("figure .plot", "ArrowRight")
    assert len(page.legend(1)) == 4
    assert page.complaints() == []


def test_the_legend_of_several_runs_has_a_line_for_each_on_a_narrow_screen(
    browser: Any, tmp_path: Path
) -> None:
    runs = [run("a"), run("b", 2.0), run("c", 3.0)]
    (tmp_path / "report.html").write_text(render(runs), encoding="utf-8")
    page = Page.opened(browser, tmp_path / "report.html")
    page.set_value("smoothing", "0.5")
    page.resize(360, "light")
    page.wait_until("return document.querySelector('figure canvas').clientWidth < 360")
    page.key("figure .plot", "ArrowRight")
    lines = page.script(
        "return [...document.querySelectorAll('figure')[0].querySelectorAll('.u-legend tr')]"
        ".filter(e => e.offsetHeight).map(e => [e.offsetTop, e.textContent])"
    )
    assert len({top for top, _ in lines}) == 1 + len(runs)
    assert [text for _, text in lines if "/" in text] == []
    assert page.script("return document.documentElement.scrollWidth <= innerWidth")


def test_everything_that_can_be_used_has_a_name(page: Page) -> None:
    unnamed = page.script(
        "return [...document.querySelectorAll('input, select, button, [tabindex], [role=img]')]"
        ".filter(e => !(e.ariaLabel || e.labels?.length || e.textContent.trim()))"
        ".map(e => e.outerHTML)"
    )
    assert unnamed == []


def test_a_million_records_are_on_the_page_within_a_second(browser: Any, tmp_path: Path) -> None:
    history = History()
    for step in range(1, 50_001):  # what is thinned is as large, whatever it was thinned from
        history.append(
            Record({f"train/m{i}": math.sin(step * (i + 1)) for i in range(20)}, step, 0, step, 0.0)
        )
    page_file = tmp_path / "report.html"
    page_file.write_text(render([ReportedRun("large", tmp_path, history=history)]))
    page = Page.opened(browser, page_file)
    timing = json.loads(
        page.script("return JSON.stringify(performance.getEntriesByType('navigation')[0])")
    )
    (tmp_path / "figure.txt").write_text(f"{timing['loadEventEnd']:.0f} ms")
    assert page.count("figure canvas") > 0
    assert page_file.stat().st_size < 4 * 2**20
