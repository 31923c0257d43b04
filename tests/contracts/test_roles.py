"""Roles of callbacks are declared: the source asks `isinstance`, not whether a name is there."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from trackside.checkpoint.saver import Saver
from trackside.lifecycle import roles
from trackside.lifecycle.hooks import Callback

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "trackside"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Where a name that is also a role's is asked of things that are not ours, with the reason.
EXCEPTIONS = {
    # Classes of any kind: callbacks, but also users' models and functions, are documented alike.
    "config/reference.py": {
        "runs_after", "runs_before", "requires", "on_error", "rank_zero_only",
    },
    # What a user lists may be a callback of another framework, which is adopted later.
    "trainer/defaults.py": {"name"},
    # Entries of a grammar: hooks, not callbacks.
    "testing/grammar.py": {"name"},
}  # fmt: skip


def role_names() -> set[str]:
    """Public names of what callbacks, savers and the protocols of roles have."""
    protocols = [kind for _, kind in inspect.getmembers(roles, inspect.isclass)]
    declared = {
        name
        for kind in [Callback, *(p for p in protocols if getattr(p, "_is_protocol", False))]
        for name in [*vars(kind), *vars(kind).get("__annotations__", ())]
    }
    saver = {*vars(Saver), *vars(Saver)["__annotations__"]}
    return {name for name in declared | saver if not name.startswith("_")}


def asked(source: str) -> Iterator[str]:
    """Names that `hasattr` and `getattr` are given as text."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Name(id="hasattr" | "getattr"), args=[_, ast.Constant(str(name)), *_]
            ):
                yield name


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if p.relative_to(PACKAGE).parts[0] != "dialects"],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_no_callback_or_saver_is_asked_for_a_role_by_name(path: Path) -> None:
    module = str(path.relative_to(PACKAGE))
    allowed = EXCEPTIONS.get(module, set())

    assert set(asked(path.read_text(encoding="utf-8"))) & role_names() <= allowed


def test_each_exception_is_needed() -> None:
    for module, names in EXCEPTIONS.items():
        assert names <= set(asked((PACKAGE / module).read_text(encoding="utf-8"))), module
