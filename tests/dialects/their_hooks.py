"""Hooks of other frameworks as their packages have them: names and parameters, by inspection.

python -m tests.dialects.their_hooks      writes the kept list again, of the packages that are here
"""

from __future__ import annotations

import ast
import inspect
import os
import textwrap
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

LIST = Path(__file__).with_suffix(".txt")
HEAD = "# dialect | hook | parameters | keywords that every call has\n"


class Hook(NamedTuple):
    """One hook of theirs."""

    dialect: str
    name: str
    parameters: str
    """After `self`, as one writes them."""
    keywords: str = ""
    """Keywords that their trainer gives in every call, beside the parameters."""


def kept(dialect: str) -> list[Hook]:
    """The hooks of the kept list."""
    lines = LIST.read_text().splitlines()[1:] if LIST.exists() else []
    hooks = [Hook(*map(str.strip, line.split("|"))) for line in lines]
    return [hook for hook in hooks if hook.dialect == dialect]


def found(dialect: str) -> list[Hook]:
    """The hooks of the package that is installed."""
    hooks = PACKAGES[dialect][1]()
    return [Hook(dialect, name, parameters, words) for name, parameters, words in hooks]


def hooks_of(kind: type) -> list[tuple[str, str, str]]:
    """Public methods of a class with their parameters."""
    return [
        (name, written(value), "")
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and not name.startswith("_")
    ]


def written(hook: Callable[..., Any]) -> str:
    """Parameters of a method without annotations."""
    _, *parameters = inspect.signature(hook).parameters.values()
    return ", ".join(str(one.replace(annotation=one.empty)) for one in parameters)


def _keras() -> list[tuple[str, str, str]]:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return hooks_of(import_module("keras").callbacks.Callback)


def _transformers() -> list[tuple[str, str, str]]:
    """Events, with the keywords of `CallbackHandler`: it calls them, and adds some for a few."""
    module = import_module("transformers.trainer_callback")
    source = textwrap.dedent(inspect.getsource(module.CallbackHandler.call_event))
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    parts = max(calls, key=lambda call: len(call.keywords))
    always = [one.arg for one in parts.keywords if one.arg]

    def words(name: str) -> str:
        given = inspect.signature(getattr(module.CallbackHandler, name)).parameters
        own = [n for n in given if n not in ("self", "args", "state", "control", "kwargs")]
        return " ".join([*always, *own])

    hooks = hooks_of(module.TrainerCallback)
    return [(name, parameters, words(name)) for name, parameters, _ in hooks]


def _lightning() -> list[tuple[str, str, str]]:
    return hooks_of(import_module("lightning.pytorch.callbacks").Callback)


def _accelerated() -> list[tuple[str, str, str]]:
    return hooks_of(import_module("pytorch_accelerated.callbacks").TrainerCallback)


PACKAGES: dict[str, tuple[str, Callable[[], list[tuple[str, str, str]]]]] = {
    "keras": ("keras", _keras),
    "transformers": ("transformers", _transformers),
    "lightning": ("lightning", _lightning),
    "pytorch_accelerated": ("pytorch_accelerated", _accelerated),
}
"""By dialect: its package, and the hooks in it."""


if __name__ == "__main__":
    lines = [HEAD]
    for one in PACKAGES:
        installed = find_spec(PACKAGES[one][0]) is not None
        rows = found(one) if installed else kept(one)
        lines += [" | ".join(row).rstrip() + "\n" for row in rows]
    LIST.write_text("".join(lines))
