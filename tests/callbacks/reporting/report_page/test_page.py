from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

from trackside.callbacks.reporting.report_page.described import options_of
from trackside.callbacks.reporting.report_page.page import ASSETS, differences, render, values
from trackside.callbacks.reporting.report_page.reading import ReportedRun, read_run
from trackside.callbacks.reporting.report_page.sessions import Session
from trackside.history import History, Record

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\""


def run(name: str = "mine", **fields: object) -> ReportedRun:
    history = History()
    for step in range(1, 6):
        history.append(Record({"val/loss": 1 / step, "lr/0": 0.1}, step, 0, 8 * step, float(step)))
    made = ReportedRun(name, Path("runs") / name, history=history, step=5, seconds=5.0)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


class Seen(HTMLParser):
    """Elements and attributes of a page, and whether each is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "elements are closed in their order"


def test_the_page_is_whole_html_that_refers_to_nothing_outside() -> None:
    seen = Seen(page := render([run()]))
    assert seen.open == []
    for tag, attributes in seen.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "srcset", "action"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:image/png;base64,")), (tag, name, value)
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert not [word for word in ("url(", "@import") if word in page]


def test_only_its_own_script_and_style_may_run() -> None:
    page = render([run()])
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    told = dict(part.split(" ", 1) for part in policy[1].replace("&#39;", "'").split("; "))
    assert told["default-src"] == "'none'"
    assert "connect-src" not in told
    for directive, element in (("script-src", "<script>"), ("style-src", "<style>")):
        text = page.split(element, 1)[1].split(element.replace("<", "</"), 1)[0]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert told[directive] == f"'sha256-{digest}'"


def test_names_reasons_and_values_of_anybody_stay_text() -> None:
    evil = run(EVIL, reason=EVIL, configuration={EVIL: EVIL}, problems=[EVIL], asked_by=EVIL)
    evil.history.append(Record({EVIL: 1.0, f"val/{EVIL}": 1.0}, 6, 0, 48, 6.0))
    evil.history.append(Record({EVIL: 2.0, f"val/{EVIL}": 1.0}, 7, 0, 56, 7.0))
    for page in (render([evil]), render([evil, run()])):
        seen = Seen(page)
        scripts = [attributes for tag, attributes in seen.elements if tag == "script"]
        assert len(scripts) == 2
        assert not [tag for tag, _ in seen.elements if tag == "img"]


def test_the_data_of_the_page_are_those_of_the_run() -> None:
    page = render([one := run()])
    text = page.split('id="data">', 1)[1].split("</script>", 1)[0]
    assert json.loads(text) == values([one])
    assert json.loads(text)["panels"][0]["curves"][0]["values"] == [
        float(f"{1 / step:.7g}") for step in range(1, 6)
    ]


def test_without_a_script_curves_and_their_sentence_are_there() -> None:
    page = render([run()])
    assert page.count("<polyline") == 2
    assert 'aria-label="val/loss: from 1.0000 at step 1 to 0.2000 at step 5, lowest 0.2000"' in page


def test_of_several_runs_only_what_differs_is_shown() -> None:
    first = run("a", configuration={"lr": "0.1", "seed": "1"})
    second = run("b", configuration={"lr": "0.2", "seed": "1", "clip": "1"})
    assert differences([first, second]) == [("clip", ["–", "1"]), ("lr", ["0.1", "0.2"])]
    page = render([first, second])
    assert "<code>lr</code>" in page
    assert "<code>seed</code>" not in page


def test_sessions_decisions_and_problems_are_told() -> None:
    told = run(
        status="interrupted",
        reason="SIGTERM",
        asked_by="signal",
        sessions=[Session("2026-01-01T00:00:00+00:00", 0), Session("2026-01-02T00:00:00+00:00", 3)],
        rollbacks=[{"from_step": 9, "to_step": 4, "asked_by": "spikes", "reason": "a spike"}],
        skipped_steps=[{"step": 2, "reason": "not finite", "asked_by": "guard"}],
        skipped_in_all=1,
        problems=["outcome.json is not JSON"],
    )
    page = render([told])
    for words in (
        "went back from step 9 to 4, asked by spikes: a spike",
        "step 2 made no update, asked by guard: not finite",
        "interrupted at step 5, asked by signal: SIGTERM",
        "was killed",
        "outcome.json is not JSON",
        "2026-01-02 00:00:00 UTC",
    ):
        assert words in page


def test_a_run_without_values_has_a_page(tmp_path: Path) -> None:
    assert "No values were recorded." in render([read_run(tmp_path)])


def test_the_library_for_plots_is_the_one_that_was_taken() -> None:
    source = (ASSETS / "uplot" / "SOURCE.md").read_text()
    digests = dict(re.findall(r"^    ([0-9a-f]{64})  (\S+)$", source, re.M))
    assert len(digests) == 2
    for digest, name in digests.items():
        assert hashlib.sha256((ASSETS / "uplot" / name).read_bytes()).hexdigest() == digest


def test_options_that_differ_from_their_defaults_are_marked() -> None:
    defaults = {"a": "1", "b": "5", "d": "4"}
    one = run(configuration={"a": "1", "b": "2", "c": "3"}, defaults=defaults)
    page = render([one])
    marked = [line.partition("</code>")[0] for line in page.split("<tr")]
    assert any('class="as-default"' in row and row.endswith("<code>a") for row in marked)
    assert not any('class="as-default"' in row and row.endswith("<code>b") for row in marked)
    assert "<code>5</code>" in page
    assert "1 options that were left as they are" in page
    assert [(row["name"], row["mark"]) for row in options_of(one)] == [
        ("a", "default"),
        ("b", "differs"),
        ("c", "given"),
    ]
