"""A constructor as a table of options: names, hints, defaults, and what its docstring says."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass, replace
from types import SimpleNamespace
from typing import Any, get_type_hints

_EMPTY = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Option:
    """One parameter."""

    name: str
    hint: Any = Any
    default: Any = _EMPTY
    doc: str = ""

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is _EMPTY


@dataclass(frozen=True, slots=True)
class Options:
    """Parameters of a class or function."""

    table: dict[str, Option] = field(default_factory=dict)
    positional: tuple[str, ...] = ()
    """Parameters that can be given by position, in order."""
    positional_only: frozenset[str] = frozenset()
    rest: str | None = None
    """Name of `*args`: a key of this name takes a list."""
    open: bool = False
    """Whether any other key is taken as well (`**kwargs`, or no signature to be read)."""


def options_of(target: Callable[..., Any]) -> Options:
    """The options of a class (its constructor) or a function."""
    try:
        signature = inspect.signature(target)
    except (ValueError, TypeError):
        return Options(open=True)
    hints, docs = hints_of(target), docs_of(target)
    table: dict[str, Option] = {}
    positional: list[str] = []
    only: set[str] = set()
    rest, is_open = None, False
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            is_open = True
            continue
        hint, default = hints.get(name, Any), parameter.default
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest, hint, default = name, list[hint], ()  # type: ignore[valid-type]
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            positional.append(name)
        if parameter.kind is parameter.POSITIONAL_ONLY:
            only.add(name)
        table[name] = Option(name, hint, default, docs.get(name, ""))
    if is_open and inspect.isclass(target):
        table |= {n: o for n, o in _passed_on(target).items() if n not in table}
    return Options(table, tuple(positional), frozenset(only), rest, is_open)


def _passed_on(target: type) -> dict[str, Option]:
    """Options of the next constructor, which `**kwargs` is most often passed on to."""
    mro = inspect.getmro(target)
    own = next((i for i, c in enumerate(mro) if "__init__" in vars(c)), len(mro))
    for base in mro[own + 1 :]:
        if base is not object and "__init__" in vars(base):
            inherited = options_of(base)
            return {n: o for n, o in inherited.table.items() if n != inherited.rest}
    return {}


def hints_of(target: Callable[..., Any]) -> dict[str, Any]:
    """Annotations as types. One that can't be evaluated (a type-only import) is left out."""
    function = _constructor(target)
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError):
        pass
    module = sys.modules.get(getattr(function, "__module__", ""), None)
    names = getattr(function, "__globals__", None) or vars(module or SimpleNamespace())
    hints: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        single = SimpleNamespace(__annotations__={name: annotation})
        try:
            hints |= get_type_hints(single, globalns=names, include_extras=True)
        except (NameError, TypeError, AttributeError, SyntaxError):
            continue
    return hints


def _constructor(target: Callable[..., Any]) -> Any:
    if not inspect.isclass(target):
        return target if hasattr(target, "__annotations__") else type(target).__call__
    own_new = target.__new__ is not object.__new__ and target.__init__ is object.__init__
    return target.__new__ if own_new else target.__init__


_ARGUMENT = re.compile(r"^(?P<stars>\*{0,2})(?P<name>\w+)(?: \([^)]*\))?:\s*(?P<text>.*)$")


def docs_of(target: Callable[..., Any]) -> dict[str, str]:
    """Text of each name in `Args:` of a docstring (the class's, then the constructor's)."""
    found: dict[str, str] = {}
    constructor = _constructor(target)
    for holder in (constructor, target):
        found |= _arguments(inspect.getdoc(holder) or "")
    return found


def _arguments(docstring: str) -> dict[str, str]:
    found: dict[str, str] = {}
    lines = iter(docstring.splitlines())
    for line in lines:
        if line.strip() in ("Args:", "Arguments:", "Parameters:"):
            break
    indent: int | None = None
    name = ""
    for line in lines:
        if not line.strip():
            continue
        here = len(line) - len(line.lstrip())
        if indent is None:
            indent = here
        if here < indent or indent == 0:
            break
        match = _ARGUMENT.match(line.strip())
        if here == indent and match:
            name = match["name"]
            found[name] = match["text"].strip()
        elif name:
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def attributes_of(target: type) -> dict[str, Option]:
    """Annotated attributes of a class with their defaults and the docstrings below them."""
    hints = get_type_hints(target, include_extras=True)
    # A class with slots has its fields' descriptors in the place of their defaults.
    made = inspect.signature(target).parameters if is_dataclass(target) else {}
    found: dict[str, Option] = {}
    tree: Any = ast.parse(textwrap.dedent(inspect.getsource(target)))
    for statement in tree.body[0].body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
            own = made[name].default if name in made else getattr(target, name, _EMPTY)
            found[name] = Option(name, hints.get(name, Any), own)
        elif (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and found
        ):
            last = next(reversed(found))
            found[last] = replace(found[last], doc=" ".join(str(statement.value.value).split()))
    return found


def summary_of(target: Callable[..., Any]) -> str:
    """First paragraph of a docstring, as one line."""
    return " ".join((inspect.getdoc(target) or "").partition("\n\n")[0].split())
