"""Nobody writes a private attribute of another object."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "trackside"

EXCEPTIONS = {
    ("checkpoint/joining.py", "_metadata"): "torch keeps versions of a state_dict's modules there",
    (
        "data/workers.py",
        "_iterator",
    ): "torch's DataLoader keeps its workers there, with no public way",
    ("distributed/materialize.py", "_parameters"): "torch's Module: a twin isn't constructed",
    ("distributed/materialize.py", "_buffers"): "torch's Module: likewise",
    ("distributed/materialize.py", "_modules"): "torch's Module: likewise",
    (
        "models/compilation.py",
        "_compiled_call_impl",
    ): "what `Module.compile` sets, but for `forward`",
}
"""Why it is right nevertheless, by file and attribute. All are objects of torch."""
SETTERS = {"setattr", "delattr", "__setattr__", "__delattr__"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_own(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id in ("self", "cls")


def called(node: ast.Call) -> str:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def written(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of private attributes that `source` sets or deletes on other objects."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=target, attr=name, ctx=ast.Store() | ast.Del()):
                pass
            case ast.Call(args=[target, ast.Constant(value=str(name)), *_]) if (
                called(node) in SETTERS
            ):
                pass
            case ast.Subscript(  # vars(other)["_name"] = ...
                value=ast.Call(func=ast.Name(id="vars"), args=[target])
                | ast.Attribute(value=target, attr="__dict__"),
                slice=ast.Constant(value=str(name)),
                ctx=ast.Store() | ast.Del(),
            ):
                pass
            case _:
                continue
        if is_private(name) and not is_own(target):
            yield node.lineno, name


def everywhere() -> Iterator[tuple[str, int, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for line, name in written(path.read_text()):
            yield path.relative_to(SOURCE).as_posix(), line, name


def test_no_private_attribute_of_another_object_is_written() -> None:
    assert [hit for hit in everywhere() if (hit[0], hit[2]) not in EXCEPTIONS] == []


def test_every_exception_is_still_one() -> None:
    assert set(EXCEPTIONS) == {(file, name) for file, _, name in everywhere()}


@pytest.mark.parametrize(
    "source",
    [
        "other._x = 1",
        "other._x: int = 1",
        "other._x += 1",
        "self.other._x = 1",
        "del other._x",
        "a, (other._x, b) = c",
        "for other._x in c: pass",
        "with c as other._x: pass",
        "setattr(other, '_x', 1)",
        "object.__setattr__(other, '_x', 1)",
        "delattr(other, '_x')",
        "vars(other)['_x'] = 1",
        "other.__dict__['_x'] = 1",
    ],
)
def test_every_way_to_write_is_seen(source: str) -> None:
    assert [name for _, name in written(source)] == ["_x"]


@pytest.mark.parametrize(
    "source",
    ["self._x = 1", "cls._x = 1", "other.x = 1", "print(other._x)", "setattr(self, '_x', 1)"],
)
def test_what_is_one_s_own_may_be_written(source: str) -> None:
    assert list(written(source)) == []
