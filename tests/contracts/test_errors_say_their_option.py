"""An error that a constructor raises says which option it is about: the caret is drawn there."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "trackside"
# What users construct: by hand, or by a section of a file.
CONSTRUCTED = (
    "callbacks/**/*.py",
    "trainer/*.py",
    "tracking/tracker.py",
    "step/optimization.py",
    "step/evaluation.py",
    "lifecycle/periodic.py",
    "checkpoint/retention.py",
    "schedule/every.py",
    "schedule/text.py",
    "progress.py",
    "history.py",
)
BUILDS = ("__init__", "__post_init__", "__new__")

# Function in its file -> why no single option of the constructor is at fault.
EXCEPTIONS: Mapping[tuple[str, str], str] = {
    ("callbacks/reporting/notify.py", "Notify.__init__"): "neither of two options was given",
    ("callbacks/stopping/stop_at.py", "StopAt.__init__"): "none of five options was given",
    ("imports/extras.py", "optional_package"): "a package that isn't installed",
    ("schedule/every.py", "AllOf.__post_init__"): "`Every.parse` says for which option",
    ("schedule/every.py", "Every.__post_init__"): "`Every.parse` says for which option",
    ("schedule/every.py", "_check_amount"): "`Every.parse` says for which option",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.Module) -> Iterator[tuple[str, Function, bool]]:
    """Qualified name of every function and method, and whether building an object calls it."""
    for node in tree.body:
        if isinstance(node, Function):
            yield node.name, node, False
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, Function):
                    is_setter = any(
                        ast.unparse(d).endswith(".setter") for d in member.decorator_list
                    )
                    yield f"{node.name}.{member.name}", member, member.name in BUILDS or is_setter


def called_by(function: Function) -> set[str]:
    """Names of what a function calls, of methods the last part."""
    return {
        node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)
    }


def imported(tree: ast.Module) -> dict[str, str]:
    """Names that come from modules of ours, with the file that they come from."""
    return {
        alias.asname or alias.name: "/".join(node.module.split(".")[1:]) + ".py"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trackside.")
        for alias in node.names
        if node.module is not None
    }


def reached(
    trees: Mapping[str, ast.Module], first: Iterator[str]
) -> dict[tuple[str, str], Function]:
    """Every function that building an object can call, by file and qualified name."""
    by_file = {file: list(functions(tree)) for file, tree in trees.items()}
    links = {file: imported(tree) for file, tree in trees.items()}
    found: dict[tuple[str, str], Function] = {}
    waiting = [(f, name, node) for f in first for name, node, builds in by_file[f] if builds]
    while waiting:
        file, name, node = waiting.pop()
        if (file, name) in found:
            continue
        found[file, name] = node
        owner = name.rpartition(".")[0]
        for call in called_by(node):
            home = links[file].get(call, file)
            wanted = {call, f"{owner}.{call}"} if home == file else {call}
            waiting += [(home, n, f) for n, f, _ in by_file.get(home, ()) if n in wanted]
    return found


def silent(node: Function, errors: set[str]) -> Iterator[int]:
    """Lines of `node` that raise an error of ours about a configuration, without its option."""
    for raised in ast.walk(node):
        if not isinstance(raised, ast.Raise) or not isinstance(raised.exc, ast.Call):
            continue
        named = raised.exc.func
        name = named.id if isinstance(named, ast.Name) else ""
        if isinstance(named, ast.Attribute) and isinstance(named.value, ast.Name):
            name = named.value.id
        if name in errors and not any(k.arg in ("option", None) for k in raised.exc.keywords):
            yield raised.lineno


def configuration_errors(trees: Mapping[str, ast.Module]) -> set[str]:
    """Names of `ConfigurationError` and `UsageError`, and of what is derived from them."""
    bases: defaultdict[str, set[str]] = defaultdict(set)
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases[node.name] |= {ast.unparse(base) for base in node.bases}
    found = {"ConfigurationError", "UsageError"}
    while more := {name for name, of in bases.items() if of & found} - found:
        found |= more
    return found


def without_option(
    sources: Mapping[str, str], constructed: list[str]
) -> dict[tuple[str, str], list[int]]:
    """Functions with errors that don't say their option, by file and name, with the lines."""
    trees = {file: ast.parse(source) for file, source in sources.items()}
    errors = configuration_errors(trees)
    reach = reached(trees, iter(constructed))
    lines = {place: list(silent(node, errors)) for place, node in reach.items()}
    return {place: found for place, found in lines.items() if found}


def test_an_error_in_a_constructor_says_its_option() -> None:
    sources = {str(p.relative_to(PACKAGE)): p.read_text() for p in PACKAGE.rglob("*.py")}
    constructed = [str(p.relative_to(PACKAGE)) for g in CONSTRUCTED for p in PACKAGE.glob(g)]

    found = without_option(sources, constructed)

    assert {place: lines for place, lines in found.items() if place not in EXCEPTIONS} == {}
    assert EXCEPTIONS.keys() <= found.keys(), "an exception that isn't needed any more"


HEAD = "class ConfigurationError(Exception): ...\nclass UsageError(Exception): ...\n"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("class A:\n def __init__(self): raise ConfigurationError('x')", {"A.__init__"}),
        ("class A:\n def __init__(self): raise ConfigurationError('x', option='a')", set()),
        ("class A:\n def on_step_end(self): raise ConfigurationError('x')", set()),
        ("class A:\n def __init__(self): check()\ndef check(): raise UsageError('x')", {"check"}),
        (
            "class B(UsageError): ...\nclass A:\n def __init__(self): self.f()\n"
            " def f(self): raise B.among([], 'x')",
            {"A.f"},
        ),
        (
            "class A:\n @property\n def a(self): ...\n @a.setter\n"
            " def a(self, a): raise ConfigurationError('x')",
            {"A.a"},
        ),
    ],
)
def test_an_error_without_its_option_is_found(source: str, expected: set[str]) -> None:
    found = without_option({"a.py": HEAD + source}, ["a.py"])
    assert {name for _, name in found} == expected
