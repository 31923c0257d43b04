"""The options that a search varies, as they are written in a file: `lr: log(1e-4, 1e-1)`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from trackside.config.text.document import parse as parse_yaml
from trackside.config.text.problem import Findings
from trackside.errors import ConfigurationError

Kind = Literal["range", "log", "int", "choice"]
Value = bool | int | float | str | None
FORM = re.compile(r"^(?P<kind>range|log|int|choice)\((?P<inside>.*)\)$", re.S)
CALL = re.compile(r"^(?P<name>[A-Za-z_.]+)\s*\(")
OTHER_NAMES = {
    "uniform": "range",
    "float": "range",
    "linear": "range",
    "loguniform": "log",
    "log_uniform": "log",
    "randint": "int",
    "integer": "int",
    "lograndint": "int",
    "categorical": "choice",
    "choices": "choice",
    "grid_search": "choice",
}
"""Kinds as they are called elsewhere."""
FORMS = "range(0, 0.5), log(1e-4, 1e-1), int(1, 8), int(16, 256, log), choice(a, b)"


@dataclass(frozen=True, slots=True)
class Dimension:
    """An option, and the values that are tried for it."""

    key: str
    """Its path, such as `optimizer.lr`."""
    kind: Kind
    values: tuple[Value, ...]
    """Of `choice`: each; else the lowest and the highest, both tried."""
    logarithmic: bool = False

    def suggested(self, trial: Any) -> Value:
        """The value for a trial of Optuna; the one that it has, where it has one."""
        if self.kind == "choice":
            value: Value = trial.suggest_categorical(self.key, self.values)
            return value
        low, high = self.values
        suggest = trial.suggest_int if self.kind == "int" else trial.suggest_float
        number: Value = suggest(self.key, low, high, log=self.logarithmic)
        return number

    def __str__(self) -> str:
        shown = [json.dumps(value) for value in self.values]
        if self.kind == "int" and self.logarithmic:
            shown.append("log")
        return f"{self.kind}({', '.join(shown)})"


def override(key: str, value: Value) -> str:
    """A value as an override of the command line."""
    return f"{key}={json.dumps(value)}"


def space_of(written: Mapping[str, Any]) -> list[Dimension]:
    """The dimensions in a configuration, in the order in which they stand.

    Raises:
        ConfigurationError: One is written wrongly, or there is none.
    """
    found = [parse(key, text) for key, text in _texts(written, "")]
    if not found:
        raise ConfigurationError(
            "there is nothing to search: no option has a range",
            expected=f"a value such as {FORMS}",
            remedy="add one: 'optimizer.lr=log(1e-4, 1e-1)', in quotes on a command line",
        )
    return found


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        if isinstance(value, str):
            if FORM.match(value.strip()):
                yield path, value.strip()
            else:
                _refuse_what_is_nearly_one(path, value.strip())
        return
    for key, inner in items:
        yield from _texts(inner, f"{path}.{key}" if path else str(key))


def _refuse_what_is_nearly_one(path: str, text: str) -> None:
    """Refuse a text that looks like a range and isn't: it would be the option's value."""
    call = CALL.match(text)
    if call is None:
        return
    name = call["name"].rpartition(".")[2].lower()
    meant = name if name in get_args(Kind) else OTHER_NAMES.get(name)
    if meant is not None:
        form = next(form for form in FORMS.split("), ") if form.startswith(meant)).rstrip(")")
        raise ConfigurationError(
            f"{path}: {text} is not a range of values",
            expected=FORMS,
            remedy=f"write it as {form})",
            option=path,
        )


def parse(key: str, text: str) -> Dimension:
    """A dimension as it is written.

    Raises:
        ConfigurationError: Its values don't fit.
    """
    match = FORM.match(text)
    assert match is not None, text
    kind: Any = match["kind"]
    try:
        return _dimension(key, kind, _values(match["inside"]))
    except ValueError as error:
        raise ConfigurationError(
            f"{key}: {text} is not a range of values: {error}", expected=FORMS, option=key
        ) from error


def _dimension(key: str, kind: Kind, values: list[Any]) -> Dimension:
    if kind == "choice":
        if any(isinstance(value, (list, dict)) for value in values):
            raise ValueError("a value must be a number, a text, true, false or null")
        # As Python compares them, and so does Optuna: 1, 1.0 and true are the same.
        if len(set(values)) != len(values) or len(values) < 2:
            raise ValueError("two values are needed at least, each different from the others")
        return Dimension(key, kind, tuple(values))
    logarithmic = kind == "log" or (kind == "int" and values[2:] == ["log"])
    if kind == "int" and logarithmic:
        del values[2]
    if len(values) != 2 or any(isinstance(value, (bool, str, type(None))) for value in values):
        raise ValueError("two numbers are needed, the lowest and the highest")
    low, high = values
    if kind == "int" and not all(isinstance(value, int) for value in values):
        raise ValueError("both must be whole numbers")
    if not all(map(math.isfinite, values)) or low >= high:
        raise ValueError("the first must be below the second")
    if logarithmic and low <= 0:
        raise ValueError("the lowest must be above 0")
    ends = (low, high) if kind == "int" else (float(low), float(high))
    return Dimension(key, kind, ends, logarithmic)


def _values(inside: str) -> list[Any]:
    """The values between the brackets, as YAML reads them in a file."""
    findings = Findings()
    layer = parse_yaml(f"[{inside}]", "", findings)
    if layer is None or findings.problems:
        raise ValueError("; ".join(problem.message for problem in findings.problems))
    return list(layer.value)
