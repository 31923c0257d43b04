"""YAML text to plain values, each with the place where it was written.

Only the plain part of YAML is read: mappings, lists, text, numbers, true, false and null. Tags
(which can construct objects), anchors and aliases are refused. Scalars mean what YAML 1.2 says they
mean: `1e-3` is a number, `on` and `no` are text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from trackside.config.text.place import Path, Place
from trackside.config.text.problem import Findings
from trackside.errors import ConfigurationError, nearest
from trackside.machine.paths import local_path

_CORE = "tag:yaml.org,2002:"
_PLAIN_TAGS = {_CORE + name for name in ("null", "bool", "int", "float", "str", "seq", "map")}
_DEEPEST = 100
"""Levels of nesting that are read: more is a mistake or an attack on the reader's stack."""


class _Loader(yaml.SafeLoader):
    """PyYAML's reader with the scalars of YAML 1.2; its constructors are not used."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F_]+|0o[0-7_]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(
        _CORE + _name, re.compile(rf"^(?:{_pattern})$"), [c if c != "\0" else "" for c in _first]
    )


@dataclass(slots=True)
class Layer:
    """One file, or one override: plain values and where they stand."""

    source: str
    value: Any = None
    keys: dict[Path, Place] = field(default_factory=dict)
    """Where each key was written (for list items, where the item begins)."""
    values: dict[Path, Place] = field(default_factory=dict)
    """Where each value was written."""
    whole: set[Path] = field(default_factory=set)
    """Mappings that were written as lists: they replace what is below them."""
    unknown: set[Path] = field(default_factory=set)
    """Where something stood that was refused, so that its value is not known."""

    def forget_item(self, path: Path) -> None:
        """An item of a list was removed: those after it move up by one."""
        *outer, index = path
        for places in (self.keys, self.values):
            moved: dict[Path, Place] = {}
            for at, place in places.items():
                inside = len(at) > len(outer) and at[: len(outer)] == tuple(outer)
                here = at[len(outer)] if inside else None
                if not isinstance(here, int) or here < int(index):
                    moved[at] = place
                elif here > int(index):
                    moved[(*outer, here - 1, *at[len(path) :])] = place
            places.clear()
            places.update(moved)


def _file_meant(source: str) -> str | None:
    """A remedy with the YAML file beside it whose name is nearest; None where none is near."""
    path = FilePath(source)
    beside = {one.stem: one for one in path.parent.glob("*.y*ml")}
    meant = nearest(path.stem, beside)
    return None if meant is None else f"did you mean `{beside[meant]}`?"


def read_file(name: str | FilePath, findings: Findings) -> Layer | None:
    """Read one file; None (with the reason in `findings`) when it can't be read at all."""
    source = str(name)
    try:
        data = local_path(name, "file").read_bytes()
    except ConfigurationError as error:
        findings.add(error.message, expected=error.expected, remedy=error.remedy)
        return None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        findings.add(f"{source}: the file can't be read: {why}", remedy=_file_meant(source))
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        findings.add(
            f"byte 0x{data[error.start]:02x} is not UTF-8 text",
            Place(source, line, 1, ""),
            remedy="save the file as UTF-8",
        )
        return None
    return read_text(text, source, findings)


def read_text(text: str, source: str, findings: Findings) -> Layer | None:
    """Read YAML text whose top is a mapping; None when it can't be read at all."""
    layer = parse(text, source, findings)
    if layer is None:
        return None
    place = layer.values.get(())
    if layer.value is None:
        start = Place(source, 1, 1, "")
        findings.add("the file is empty", start, expected="a mapping of sections, such as `model:`")
    elif not isinstance(layer.value, dict):
        findings.add(
            "the top of the file is not a mapping",
            place,
            expected="sections such as `model:`, `data:` and `trainer:`",
            received="a list" if isinstance(layer.value, list) else "a single value",
        )
    else:
        return layer
    return None


def parse(text: str, source: str, findings: Findings, *, before: str = "") -> Layer | None:
    """Read any YAML value. `before` is what stands before it, when it was on the command line."""
    lines = text.splitlines() or [""]

    def place(start: yaml.Mark, end: yaml.Mark | None = None) -> Place:
        excerpt = lines[start.line] if start.line < len(lines) else ""
        length = 1
        if end is not None:
            length = (end.column if end.line == start.line else len(excerpt)) - start.column
        number = 0 if before else start.line + 1
        column = len(before) + start.column + 1
        return Place(source, number, column, before + excerpt, max(1, length))

    try:
        reader = _Reader(text, source, findings, place)
        return reader.read()
    except yaml.MarkedYAMLError as error:
        message, remedy = _in_plain_words(error)
        if "while parsing a flow" in (error.context or "") and "${" in text:
            remedy = 'inside [ ] and { } an interpolation stands in quotes: ["${data.batch_size}"]'
        opened = "not closed" in message and error.context_mark
        mark = opened or error.problem_mark or error.context_mark
        findings.add(message, place(mark) if mark else None, remedy=remedy)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        column = len(before) - (before.rfind("\n") + 1)
        mark = yaml.Mark(source, error.position, before.count("\n"), column, None, 0)
        findings.add(f"character U+{error.character:04X} is not allowed in YAML", place(mark))
    return None


class _Reader:
    """Turns the events of one YAML document into values and places."""

    def __init__(
        self,
        text: str,
        source: str,
        findings: Findings,
        place: Callable[[yaml.Mark, yaml.Mark | None], Place],
    ) -> None:
        self.loader: Any = _Loader(text)  # Any: its methods carry no types
        self.layer = Layer(source)
        self.findings = findings
        self.place = place

    def read(self) -> Layer:
        try:
            self.loader.get_event()  # the start of the stream
            if self.loader.check_event(yaml.StreamEndEvent):
                return self.layer
            self.loader.get_event()  # the start of the document
            self.layer.value = self._value(())
            self.loader.get_event()  # the end of the document
            if not self.loader.check_event(yaml.StreamEndEvent):
                mark = self.loader.peek_event().start_mark
                self.findings.add(
                    "a second document begins here",
                    self.place(mark, None),
                    expected="one document in a file",
                    remedy="put it into its own file: files are merged in order",
                )
            return self.layer
        finally:
            self.loader.dispose()

    def _value(self, path: Path) -> Any:
        """Consume one value, whatever its form, and note where it stands."""
        event = self.loader.get_event()
        here = self.place(event.start_mark, event.end_mark)
        self.layer.values[path] = here
        if len(path) > _DEEPEST:
            raise yaml.MarkedYAMLError(problem="nested too deep", problem_mark=event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            self._no_anchor(f"alias `*{event.anchor}`", here, path)
            self.layer.unknown.add(path)
            return None
        if event.anchor is not None:
            self._no_anchor(f"anchor `&{event.anchor}`", here, path)
        if event.tag not in (None, "!") and event.tag not in _PLAIN_TAGS:
            self.layer.unknown.add(path)
            tag = event.tag.replace(_CORE, "!!")
            self.findings.add(
                f"tag `{tag}` is not allowed: a configuration is plain data",
                here,
                path,
                remedy="name what to construct with `kind:`",
            )
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        return self._scalar(event, path)

    def _list(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not self.loader.check_event(yaml.SequenceEndEvent):
            item: Path = (*path, len(items))
            items.append(self._value(item))
            self.layer.keys[item] = self.layer.values[item]
        self.loader.get_event()
        return items

    def _mapping(self, path: Path) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        first: dict[Any, Place] = {}
        while not self.loader.check_event(yaml.MappingEndEvent):
            event = self.loader.peek_event()
            here = self.place(event.start_mark, event.end_mark)
            key = self._key(path, here)
            if key is None:
                self._value((*path, "(no key)"))
                continue
            inner: Path = (*path, key)
            if key in first:
                self.findings.add(
                    f"key `{key}` stands twice in one mapping",
                    here,
                    inner,
                    remedy=f"keep one of the two: the other is in line {first[key].line}",
                )
                self._value((*path, f"{key} (again)"))
                continue
            first[key] = here
            self.layer.keys[inner] = here
            mapping[key] = self._value(inner)
        self.loader.get_event()
        return mapping

    def _key(self, path: Path, here: Place) -> str | int | None:
        """The key that comes next; None when it can't be one."""
        event = self.loader.peek_event()
        if isinstance(event, yaml.ScalarEvent):
            if event.value == "<<" and event.implicit[0]:
                self._no_anchor("merge key `<<`", here, path)
                self.layer.unknown.add(path)
            key = self._value((*path, "(key)"))
            if isinstance(key, str) or (isinstance(key, int) and not isinstance(key, bool)):
                return key
            shown = event.value
        else:
            self._value((*path, "(key)"))
            shown = "a list or mapping"
        self.findings.add(
            "a key is a word or a whole number", here, path, received=shown or "nothing"
        )
        return None

    def _scalar(self, event: yaml.ScalarEvent, path: Path) -> Any:
        tag = event.tag
        if tag in (None, "!"):
            tag = self.loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        try:
            return _construct(tag.removeprefix(_CORE), event.value)
        except ValueError:
            self.findings.add(
                f"`{event.value}` is not what its tag says",
                self.layer.values[path],
                path,
                expected=tag.replace(_CORE, "!!"),
            )
            self.layer.unknown.add(path)
            return None

    def _no_anchor(self, what: str, here: Place, path: Path) -> None:
        self.findings.add(
            f"{what}: anchors and aliases are not read",
            here,
            path,
            remedy="refer to the other value by its path, such as ${data.batch_size}",
        )


def _construct(kind: str, text: str) -> Any:
    """The value of a scalar. Raises `ValueError` when an explicit tag doesn't fit the text."""
    if kind == "null":
        return None
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    if kind == "int":
        bare = text.replace("_", "")
        return int(bare, {"0x": 16, "0o": 8}.get(bare[:2], 10))
    if kind == "float":
        return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _in_plain_words(error: yaml.MarkedYAMLError) -> tuple[str, str | None]:
    """PyYAML's finding in plain words, with a remedy."""
    problem = error.problem or "this is not YAML"
    if "'\\t'" in problem:
        return "a tab stands where YAML allows only spaces", "indent with spaces"
    if "mapping values are not allowed" in problem:
        return (
            "a second `:` in one line, or a line before it that has none",
            "put text that contains `: ` into quotes, end every key with `:`",
        )
    if "could not find expected ':'" in problem:
        return "a key without `:`", "write `key: value`"
    if "expected <block end>" in problem:
        return (
            "this line does not fit the lines above it",
            "begin all keys (or all `-`) of one level in the same column",
        )
    if "while scanning a quoted scalar" in (error.context or ""):
        return "a quoted text is not closed", "close it with the quote it began with"
    if "while parsing a flow" in (error.context or ""):
        return "a `[` or `{` is not closed, or a comma is missing", None
    if "found character" in problem and "cannot start any token" in problem:
        return f"{problem.split()[2]} can't begin a value", "put the text into quotes"
    if problem == "nested too deep":
        return f"more than {_DEEPEST} levels of nesting", None
    return problem, None
