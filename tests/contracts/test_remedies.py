"""What messages and docstrings name exists: dotted names, keywords, attributes, commands."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

import trackside
import trackside.callbacks
import trackside.checkpoint
import trackside.distributed
import trackside.testing
from trackside.cli.main import app
from trackside.lifecycle.hooks import CONTEXTS, HOOKS
from trackside.vocabulary import renamed

PACKAGE = Path(trackside.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
PUBLIC = (trackside, trackside.callbacks, trackside.distributed, trackside.testing)

DOTTED = re.compile(r"\btrackside(?:\.[A-Za-z_]\w*)+")
CALL = re.compile(r"(?<![\w.])([A-Za-z_][\w.]*)\(")
KEYWORD = re.compile(r"\s*([a-z_]\w*)=(?!=)")
ATTRIBUTE = re.compile(r"`run\.([a-z_]\w*)")
HOOK = re.compile(r"\bCallback\.(\w+)")
COMMAND = re.compile(r"`trackside ([a-z]+)|^\s+trackside ([a-z]+)", re.M)
NOT_MODULES = {"trackside.schema.json", "trackside.yaml", "trackside.nn_handler"}
"""Names of files, and of a logger."""


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every string, with an ellipsis in the place of what is filled in."""
    inner = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in ast.walk(n)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and id(node) not in inner:
            yield node.lineno, node.value if isinstance(node.value, str) else ""


def exists(name: str) -> bool:
    parts = name.split(".")
    found: Any = None
    for index in range(1, len(parts) + 1):
        try:
            found = importlib.import_module(".".join(parts[:index]))
        except ModuleNotFoundError:
            for part in parts[index - 1 :]:
                if not hasattr(found, part):
                    return False
                found = getattr(found, part)
            return True
    return True


def calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """Name and keywords of every call that a text shows."""
    for match in CALL.finditer(text):
        depth, parts, start = 0, [], match.end()
        for place in range(match.end(), len(text)):
            letter = text[place]
            if letter in "([{":
                depth += 1
            elif letter in ")]}":
                depth -= 1
            if depth < 0 or (depth == 0 and letter == ","):
                parts.append(text[start:place])
                start = place + 1
            if depth < 0:
                break
        keywords = [found[1] for part in parts if (found := KEYWORD.match(part))]
        yield match[1], keywords


def meant(name: str) -> Any:
    """What of ours a call in a text means; None when it is not ours."""
    if name in ("fit", "trainer.fit"):
        return trackside.Trainer.fit
    if name.startswith("run."):
        return getattr(trackside.Run, name.removeprefix("run."), None)
    if name == "Checkpoint":
        return trackside.callbacks.Checkpoint
    return next((getattr(p, name) for p in PUBLIC if name in p.__all__), None)


@cache
def attributes_of_a_run() -> set[str]:
    run = {
        *dir(trackside.Run("fit")),
        *dir(trackside.AttachedRun),
        *trackside.Run.__annotations__,
        "yaml",
    }  # run.yaml: a file
    return run - renamed.ATTRIBUTES["Run"].keys()


@cache
def commands() -> set[str]:
    return set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def wrong_in(text: str) -> list[str]:
    """What a text names that doesn't exist."""
    found = [name for name in DOTTED.findall(text) if name not in NOT_MODULES and not exists(name)]
    for name, keywords in calls(text):
        if (target := meant(name)) is None:
            continue
        parameters = inspect.signature(target).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            found += [f"{name}({keyword}=)" for keyword in keywords if keyword not in parameters]
    run = attributes_of_a_run()
    found += [f"run.{name}" for name in ATTRIBUTE.findall(text) if name not in run]
    known = {*HOOKS, *CONTEXTS, *dir(trackside.Callback), "on_"}
    found += [f"Callback.{name}" for name in HOOK.findall(text) if name not in known]
    said = {first or second for first, second in COMMAND.findall(text)}
    return found + [f"trackside {name}" for name in sorted(said - commands())]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_what_a_text_names_exists(file: Path) -> None:
    told = texts(ast.parse(file.read_text(encoding="utf-8")))
    assert [(line, wrong) for line, text in told if (wrong := wrong_in(text))] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("use `trackside.callbacks.averaging.EMA`", ["trackside.callbacks.averaging.EMA"]),
        ("use `trackside.callbacks.EMA`", []),
        ("say `Trainer(parallel='fsdp')`", ["Trainer(parallel=)"]),
        (
            "say Trainer(m, settings=Settings(parallel=FSDP(x=1)))",
            ["Settings(parallel=)", "FSDP(x=)"],
        ),
        ("say `Trainer(optimizer=lambda p: AdamW(p, lr=1))`", []),
        ("look at `run.calling`", ["run.calling"]),
        ("hear `Callback.on_stepend`", ["Callback.on_stepend"]),
        ("type `trackside trian FILE`", ["trackside trian"]),
    ],
)
def test_what_does_not_exist_is_noticed(text: str, wrong: list[str]) -> None:
    assert wrong_in(text) == wrong
