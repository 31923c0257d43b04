"""Every function, method and class is named somewhere, or listed here with a reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "src" / "trackside"
WORD = re.compile(r"[A-Za-z_]\w*")

# Definitions that only others call.
CALLED_BY_OTHERS = {
    "resolve_data": "torch's reader of checkpoints",
    "ls": "torch's reader of checkpoints",
    "get_lr": "torch's schedulers",
    "yaml_implicit_resolvers": "PyYAML",
    "model_state": "tests of how models are placed on ranks",
    "open_spans": "public: shown in the docstring of `Grammar`",
    "epoch_samples_completed": "public: a counter of `Progress`",
    "append_inside": "with `replace_inside` and `read_inside`, the ways into a run's folder",
    "do_GET": "http.server",
    "log_message": "http.server",
    "gather_in_order": "public: a collective of `World`",
    "last_checkpoint": "public: where a trial with `RayTune` goes on",
}
# What these define is the interface of another framework, which its callbacks call.
OTHER_FRAMEWORKS = "dialects"


def definitions(tree: ast.Module) -> Iterator[str]:
    """Functions, methods and classes; without hooks, which the dispatcher calls by their names."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
        if not node.name.startswith(("__", "on_", "_repr_")) and "command" not in decorators:
            yield node.name


def uses(tree: ast.Module) -> Iterator[str]:
    """Names that the code reads, and words in strings that are no docstrings."""
    texts = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name):
                yield name
            case ast.alias(name=name):
                yield from name.split(".")
            case ast.Constant(value=str(text)) if id(node) not in texts:
                yield from WORD.findall(text)


def unused(sources: dict[str, str], pages: str = "") -> set[str]:
    """Definitions of `sources` that neither they nor `pages` name."""
    trees = {name: ast.parse(source) for name, source in sources.items()}
    named = {name for tree in trees.values() for name in uses(tree)}
    named.update(WORD.findall(pages))
    defined = {
        name
        for path, tree in trees.items()
        if not path.startswith(OTHER_FRAMEWORKS)
        for name in definitions(tree)
    }
    return defined - named


def test_every_function_and_class_is_named_somewhere() -> None:
    sources = {str(p.relative_to(PACKAGE)): p.read_text() for p in PACKAGE.rglob("*.py")}
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    pages += (REPOSITORY / "examples").rglob("*.py")

    found = unused(sources, "\n".join(page.read_text() for page in pages))

    assert found - CALLED_BY_OTHERS.keys() == set()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(): ...", {"f"}),
        ("class A:\n    def m(self): ...\nA()", {"m"}),
        ("def f(): ...\nf()", set()),
        ("def f(): ...\nTABLE = {'f': 1}", set()),
        ('def f():\n    """See f."""', {"f"}),
        ("class A(Callback):\n    def on_step_end(self, run): ...\nA", set()),
    ],
)
def test_what_nothing_names_is_found(source: str, expected: set[str]) -> None:
    assert unused({"x.py": source}) == expected
