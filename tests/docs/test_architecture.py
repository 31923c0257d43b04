"""ARCHITECTURE.md says what the code says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from trackside.lifecycle.hooks import ANYWHERE, HOOKS

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "ARCHITECTURE.md").read_text()


def picture() -> str:
    """The block with the hooks."""
    section = PAGE.split("## The lifecycle")[1]
    match = re.search(r"```text\n(.*?)```", section, re.S)
    assert match is not None
    return match[1]


def nesting(text: str) -> list[tuple[str, str | None]]:
    """Hooks of the picture's tree with the opening hook that they are drawn under."""
    path: list[tuple[int, str]] = []
    found: list[tuple[str, str | None]] = []
    for line in text.partition("anywhere:")[0].splitlines():
        match = re.match(r"( *)(on_\w+)", line)
        if match is None:
            continue
        depth, hook = len(match[1]), match[2]
        path = [(d, h) for d, h in path if d < depth]
        found.append((hook, path[-1][1] if path else None))
        if hook.endswith("_start"):
            path.append((depth, hook))
    return found


def layers_of_the_contract() -> list[set[str]]:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    contract = next(c for c in settings["contracts"] if c["id"] == "layers")
    layers = [set(re.findall(r"\w+", layer)) for layer in contract["layers"]]
    return [layer for layer in layers if layer != {"__main__"}]


def layers_of_the_page() -> list[set[str]]:
    section = PAGE.split("## The tree")[1].split("##")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", section, re.M)
    return [set(re.findall(r"`(\w+)`", row)) for row in rows]


def test_the_picture_shows_every_hook_once_and_no_other() -> None:
    shown = re.findall(r"\bon_\w+", re.sub(r"; on_close follows|per on_attach", "", picture()))

    assert sorted(shown) == sorted(HOOKS)


@pytest.mark.parametrize(("hook", "under"), nesting(picture()))
def test_a_hook_is_drawn_where_it_fires(hook: str, under: str | None) -> None:
    opening = HOOKS[hook].closes

    if opening in HOOKS:  # an end stands beside its start
        assert under == dict(nesting(picture()))[opening]
    else:
        assert HOOKS[hook].inside == ANYWHERE or under in HOOKS[hook].inside


def test_hooks_are_drawn_in_the_order_of_the_class_body() -> None:
    drawn = [hook for hook, _ in nesting(picture())]

    # A span closes after what it holds: of those that open or stand alone, the order is the same.
    opening = [hook for hook in drawn if not hook.endswith("_end")]
    assert opening == [hook for hook in HOOKS if hook in opening]


def test_the_tree_shows_every_folder_once() -> None:
    tree = PAGE.split("## The tree")[1].split("```text\n")[1].split("```")[0]
    source = REPOSITORY / "src" / "trackside"

    folders = [path.parent.name for path in source.glob("*/__init__.py")]
    assert sorted(re.findall(r"^(\w+)/ ", tree, re.M)) == sorted(folders)


def test_the_life_of_one_step_names_at_most_five_files_and_all_are_there() -> None:
    section = PAGE.split("## The life of one step")[1].split("\n## ")[0]
    files = set(re.findall(r"`(\w+(?:/\w+)*\.py)`", section))

    assert 0 < len(files) <= 5
    assert [file for file in files if not (REPOSITORY / "src/trackside" / file).is_file()] == []


def test_the_table_of_layers_is_the_contract() -> None:
    assert layers_of_the_page() == layers_of_the_contract()
