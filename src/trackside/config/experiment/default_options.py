"""Defaults of all options of a configuration: a report marks what differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trackside.config.checking.blueprint import Blueprint
from trackside.config.checking.options import Option, options_of
from trackside.config.text.place import Path


def default_options(trainer: Mapping[str, Option], made: Iterable[Blueprint]) -> dict[str, Any]:
    """Defaults as plain values, by the place at which a file gives them: `optimizer/lr`.

    Args:
        trainer: Options of the section `trainer:`.
        made: All that the configuration names by `kind:`.
    """
    found = _plain(trainer, ("trainer",))
    for outer in made:
        for blueprint in outer.within():
            found |= _plain(options_of(blueprint.target).table, blueprint.path)
    return found


def _plain(table: Mapping[str, Option], path: Path) -> dict[str, Any]:
    options = {name: option for name, option in table.items() if not option.required}
    return {
        "/".join(map(str, (*path, name))): _value(option.default)
        for name, option in options.items()
        if not name.startswith("_")
    }


def _value(default: Any) -> Any:
    if default is None or isinstance(default, (bool, int, float, str)):
        return default
    if isinstance(default, (list, tuple)):
        return [_value(one) for one in default]
    if isinstance(default, Mapping):
        return {str(key): _value(one) for key, one in default.items()}
    return str(default)
