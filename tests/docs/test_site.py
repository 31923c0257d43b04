"""The site has every page and every public name; its reference is what code and `--help` say."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import trackside
import trackside.testing
from docs.site.commands import PAGE, page
from docs.site.python import FOLDER, pages

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
TREE = re.compile(r"^```\{toctree\}\n(?P<body>.*?)^```$", re.M | re.S)


def test_the_page_of_commands_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make reference`"


def test_the_pages_of_python_are_up_to_date() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}

    assert committed == pages(), "run `make reference`"


def test_every_public_name_has_one_place_in_the_reference() -> None:
    found = re.findall(r"^## (\w+)$", "\n".join(pages().values()), re.M)

    public = set(trackside.__all__) - {"__version__"}
    assert sorted(found) == sorted([*public, *trackside.testing.__all__])


def test_every_page_is_in_the_tree_of_the_site() -> None:
    """The trees are in docs/index.md."""
    lines = [
        re.sub(r".*<(.*)>", r"\1", line)
        for tree in TREE.finditer((DOCS / "index.md").read_text(encoding="utf-8"))
        for line in tree["body"].splitlines()
        if line and not line.startswith(":")
    ]
    found = [str(p.relative_to(DOCS).with_suffix("")) for p in DOCS.glob("**/*.md")]
    found += [f"../{path.stem}" for path in REPOSITORY.glob("*.md")] + ["../examples/README"]

    assert [p for p in found if not any(fnmatch.fnmatch(p, line) for line in lines)] == ["index"]
    assert [line for line in lines if not fnmatch.filter(found, line)] == []
