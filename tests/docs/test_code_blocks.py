"""What the pages show, runs: Python blocks as they stand, commands as far as they can be named.

Blocks of one page share a namespace and run in order, in an empty folder. A block that opens with
```python train.py is written to that file first, for later blocks to import. One that opens with
```python no-run is skipped; there should be few of those, each for a reason the page makes plain.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.elsewhere import skip_without_package

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```$", re.M | re.S
)
LINK = re.compile(r"\]\((?!https?:|mailto:)(?P<target>[^)#\s]+)?(?:#(?P<anchor>[^)\s]+))?\)")
NO_RUN_AT_MOST = 5


@dataclass(frozen=True)
class Block:
    language: str
    options: tuple[str, ...]
    code: str
    line: int


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, with the line on which the code of each begins."""
    found = []
    for match in FENCE.finditer(text):
        language, *options = match["info"].split() or [""]
        code = "".join(
            line.removeprefix(match["indent"]) for line in match["code"].splitlines(keepends=True)
        )
        line = text.count("\n", 0, match.start("code")) + 1
        found.append(Block(language, tuple(options), code, line))
    return found


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def write_module(file: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file that can be imported, until the test is over."""
    Path(file).write_text(code)
    monkeypatch.setitem(sys.modules, Path(file).stem, ModuleType(file))
    del sys.modules[Path(file).stem]


def run_page(page: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the Python blocks of a page as a script; a traceback points at the line of the page."""
    script = ModuleType("__main__")
    namespace: dict[str, Any] = vars(script)
    monkeypatch.setattr(sys, "path", [str(Path.cwd()), *sys.path])
    for block in blocks(text):
        if block.language == "python" and "no-run" not in block.options:
            file = next(iter(block.options), f"{page.stem}.py")
            if block.options:
                write_module(file, block.code, monkeypatch)
            script.__file__ = file
            padded = "\n" * (block.line - 1) + block.code
            monkeypatch.setitem(sys.modules, "__main__", script)
            exec(compile(padded, page, "exec", dont_inherit=True), namespace)


@cache
def help_of(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trackside", *command.split(), "--help"],
        capture_output=True,
        text=True,
        check=False,
    )


def commands(text: str, program: str) -> list[str]:
    """First word after `program` in the shell blocks of a page."""
    lines = "\n".join(b.code for b in blocks(text) if b.language in {"bash", "sh", "console"})
    return sorted(set(re.findall(rf"^(?:\$ )?{program} +([a-z][a-z-]*)", lines, re.M)))


def python_pages() -> list[Path]:
    return [page for page in PAGES if any(b.language == "python" for b in blocks(page.read_text()))]


@pytest.mark.parametrize("page", python_pages(), ids=name_of)
def test_the_python_of_a_page_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without_package(page.stem)
    run_page(page, page.read_text(), monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    for command in commands(page.read_text(), "trackside"):
        result = help_of(command)
        assert result.returncode == 0, f"trackside {command}: {result.stderr}"

    makefile = (REPOSITORY / "Makefile").read_text()
    for target in commands(page.read_text(), "make"):
        assert re.search(rf"^{target}:", makefile, re.M), f"make {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for match in LINK.finditer(FENCE.sub("", page.read_text())):
        target = page.parent / match["target"] if match["target"] else page
        assert target.exists(), match.group()
        if match["anchor"] and target.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.M)
            anchors = {
                re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings
            }
            assert match["anchor"] in anchors, match.group()


def test_every_page_is_found_from_the_first() -> None:
    found, to_read = set(), [REPOSITORY / "README.md"]
    while to_read:
        page = to_read.pop().resolve()
        if page.suffix == ".md" and page not in found:
            found.add(page)
            links = LINK.finditer(FENCE.sub("", page.read_text()))
            to_read += [page.parent / link["target"] for link in links if link["target"]]

    assert {name_of(page) for page in PAGES if page.resolve() not in found} == set()


def test_blocks_that_are_not_run_are_rare() -> None:
    skipped = [
        f"{name_of(page)}:{block.line}"
        for page in PAGES
        for block in blocks(page.read_text())
        if block.language == "python" and "no-run" in block.options
    ]

    assert len(skipped) <= NO_RUN_AT_MOST, skipped


def test_a_block_that_fails_is_found_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "# Page\n\n```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n"

    with pytest.raises(AssertionError) as caught:
        run_page(Path("page.md"), text, monkeypatch)

    assert caught.traceback[-1].lineno == 7  # pytest counts lines from 0


def test_a_block_with_the_name_of_a_file_can_be_imported_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = (
        "```python part.py\nx = 1\n```\n\n```python\nfrom part import x as y\nassert y == 1\n```\n"
    )

    run_page(Path("page.md"), text, monkeypatch)


def test_a_block_within_a_list_is_found() -> None:
    assert blocks("- item\n\n  ```python\n  x = 1\n  ```\n")[0].code == "x = 1\n"
