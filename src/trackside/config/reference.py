"""Description of a callback, read from its class: for pages and the command line."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from trackside.config.builtin_callbacks import builtin_callbacks
from trackside.config.checking.options import Option, options_of
from trackside.config.checking.wording import describe
from trackside.lifecycle.hooks import CONTEXTS, HOOKS, Callback
from trackside.schedule import AllOf, AnyOf, Every

UNITS = ("seconds", "bytes", "steps", "epochs", "batches", "samples", "percent")
"""The unit that the last word of an option's name stands for."""
_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns|Yields|Raises|Example|Examples):$")


@dataclass(frozen=True, slots=True)
class OptionReference:
    """One option of a callback, in words."""

    name: str
    type: str
    """Form of a value in a file."""
    unit: str
    """`seconds`, `steps`, ...; empty where its name has no unit."""
    default: str | None
    """As it would be written in a file; None where a value is needed."""
    doc: str

    @property
    def kind(self) -> str:
        """Type and unit: `a number, in seconds`."""
        return f"{self.type}, in {self.unit}" if self.unit else self.type


@dataclass(frozen=True, slots=True)
class Reference:
    """One callback."""

    name: str
    """The name for `kind:`: short for a built-in, else the full name."""
    kind: str
    """Full name of the class."""
    purpose: str
    """Folder of a built-in; empty for others."""
    summary: str
    """The first sentence of its docstring."""
    text: str
    """The rest of it, up to the sections."""
    options: tuple[OptionReference, ...]
    raises: str
    """The section of that name."""
    python: str
    """How it is made, as its docstring shows."""
    sources: str
    """Text below the sections: papers, mostly."""
    hooks: tuple[str, ...]
    runs_after: tuple[str, ...]
    runs_before: tuple[str, ...]
    requires: tuple[str, ...]
    on_error: str
    switch_off_after: int
    effect: str | None
    rank_zero_only: bool
    monitors: tuple[str, ...]
    logs: tuple[str, ...]
    """Known from the class; others are known once it is made."""
    has_state: bool
    """Whether checkpoints hold something of it."""

    @property
    def class_name(self) -> str:
        """`EarlyStopping`."""
        return self.kind.rpartition(".")[2]

    @property
    def yaml(self) -> str:
        """The Python example as a file says it; empty where it isn't made of plain values."""
        return yaml_of(self.python, self.name, [option.name for option in self.options])


def reference_of(name: str, target: type) -> Reference:
    """The reference of a callback.

    Args:
        name: Its short name, or its full one.
        target: Its class.
    """
    parts = sections_of(inspect.getdoc(target) or "")
    summary, _, text = parts["text"].partition("\n\n")
    built_in = builtin_callbacks().get(name)
    overrides = {"state_dict", *HOOKS, *CONTEXTS} & set(_overridden(target))
    custom = [n for n in _overridden(target) if n.startswith("on_") and n not in HOOKS]
    return Reference(
        name=name,
        kind=f"{target.__module__}.{target.__qualname__}",
        purpose="" if built_in is None else built_in.purpose,
        summary=" ".join(summary.split()),
        text=text,
        options=tuple(option_reference(option) for option in options_of(target).table.values()),
        raises=parts.get("Raises", ""),
        python=_code(parts.get("Example", "")),
        sources=parts.get("sources", ""),
        hooks=tuple(n for n in [*HOOKS, *CONTEXTS] if n in overrides) + tuple(sorted(custom)),
        runs_after=_names(getattr(target, "runs_after", ())),
        runs_before=_names(getattr(target, "runs_before", ())),
        requires=_names(getattr(target, "requires", ())),
        on_error=getattr(target, "on_error", Callback.on_error),
        switch_off_after=getattr(target, "switch_off_after", Callback.switch_off_after),
        effect=getattr(target, "effect", None),
        rank_zero_only=bool(getattr(target, "rank_zero_only", False)),
        monitors=_plain(target, "monitors"),
        logs=_plain(target, "logs"),
        has_state="state_dict" in overrides,
    )


def option_reference(option: Option) -> OptionReference:
    """An option in words."""
    last = option.name.rpartition("_")[2]
    unit = next((unit for unit in UNITS if last in (unit, unit.removesuffix("s"))), "")
    counts = any(number in describe(option.hint) for number in ("number",))
    default = None if option.required else written(option.default)
    return OptionReference(
        option.name, describe(option.hint), unit if counts else "", default, option.doc
    )


def written(value: Any) -> str:
    """A default as it would be written in a file."""
    if isinstance(value, (Every, AnyOf, AllOf)):
        return str(value)
    if isinstance(value, (tuple, list, set, frozenset)):
        value = list(value)
    try:
        text: str = yaml.safe_dump(value, default_flow_style=True, width=1000)
    except yaml.YAMLError:
        return str(value)
    return text.strip().removesuffix("...").strip()


def sections_of(docstring: str) -> dict[str, str]:
    """A docstring by sections: `text` above them, their names, and `sources` below them."""
    found: dict[str, list[str]] = {"text": []}
    at = "text"
    for line in docstring.splitlines():
        if heading := _SECTION.match(line):
            at = heading[1].removesuffix("s") if heading[1] == "Examples" else heading[1]
        elif at not in ("text", "sources") and line[:1].strip():
            at = "sources"
        if not heading:
            found.setdefault(at, []).append(line)
    return {name: inspect.cleandoc("\n".join(["", *lines])) for name, lines in found.items()}


def yaml_of(python: str, name: str, options: Iterable[str]) -> str:
    """A call of a constructor as an entry of `callbacks:` in a file.

    Args:
        python: `EarlyStopping("val/loss", patience=5)`.
        name: Key of the entry, and its `kind:` where it is a full name.
        options: Names of the constructor's options, in order.

    Returns:
        The text; empty where arguments aren't plain values.
    """
    try:
        call = ast.parse(python).body[-1]
    except (SyntaxError, IndexError):
        return ""
    value = call.value if isinstance(call, (ast.Expr, ast.Assign)) else None
    if not isinstance(value, ast.Call):
        return ""
    pairs = [*zip(options, value.args, strict=False)]
    pairs += [(keyword.arg or "", keyword.value) for keyword in value.keywords]
    try:
        entry = {key: ast.literal_eval(argument) for key, argument in pairs}
    except ValueError:
        return ""
    if "." in name:
        name, entry = name.rpartition(".")[2], {"kind": name, **entry}
    text: str = yaml.safe_dump({"callbacks": {name: entry}}, sort_keys=False, width=88)
    return text.rstrip()


def as_mapping(reference: Reference) -> dict[str, Any]:
    """The reference as plain values, for `--json`."""
    fields = {name: getattr(reference, name) for name in Reference.__slots__ if name != "options"}
    options = [option_as_mapping(option) for option in reference.options]
    return {**fields, "options": options, "yaml": reference.yaml}


def option_as_mapping(option: OptionReference) -> Mapping[str, Any]:
    """One option as plain values."""
    fields = {name: getattr(option, name) for name in OptionReference.__slots__}
    return {**fields, "required": option.default is None}


def _overridden(target: type) -> list[str]:
    """Names of public methods that differ from those of `Callback`."""
    if not issubclass(target, Callback):
        return [n for n in dir(target) if n.startswith("on_")]
    return [
        name
        for name in dir(target)
        if not name.startswith("_")
        and name != "on_due"
        and callable(getattr(target, name))
        and getattr(target, name) is not getattr(Callback, name, None)
    ]


def _names(callbacks: Iterable[type | str]) -> tuple[str, ...]:
    """Class names of constraints, whichever way they were given."""
    known = builtin_callbacks()
    given = [one if isinstance(one, str) else one.__name__ for one in callbacks]
    return tuple(known[one].class_name if one in known else one for one in given)


def _plain(target: type, name: str) -> tuple[str, ...]:
    value = getattr(target, name, ())
    return tuple(value) if isinstance(value, tuple) else ()


def _code(example: str) -> str:
    """The lines of an example that are typed, without prompts and answers."""
    lines = example.splitlines()
    return "\n".join(line[4:] for line in lines if line.startswith((">>> ", "... ")))
