"""Callbacks by name: a list of them becomes a map, so that a later layer can change one."""

from __future__ import annotations

from typing import Any

from trackside.config.text.document import Layer
from trackside.config.text.place import Path
from trackside.config.text.problem import Findings
from trackside.lifecycle.collection import snake_case

SECTION: Path = ("callbacks",)


def name_of_kind(kind: str) -> str:
    """The name an instance gets when none is given: `my.pkg.EarlyStopping` is `early_stopping`."""
    return snake_case(kind.rpartition(".")[2])


def callbacks_by_name(layer: Layer, findings: Findings) -> None:
    """Turn a list under `callbacks` into a map, in `layer` itself, places included."""
    listed = layer.value.get("callbacks") if isinstance(layer.value, dict) else None
    if not isinstance(listed, list):
        return
    named: dict[str, Any] = {}
    moved: dict[Path, Path] = {}
    for index, item in enumerate(listed):
        at: Path = (*SECTION, index)
        entry = {"kind": item} if isinstance(item, str) else item
        name = _name(entry, at, layer, findings)
        if name is None:
            continue
        if name in named:
            findings.add(
                f"two callbacks are named `{name}`",
                layer.values[at],
                at,
                remedy="give one of them another `name:`",
            )
            continue
        named[name] = {key: value for key, value in entry.items() if key != "name"}
        moved[at] = (*SECTION, name)
    layer.value["callbacks"] = named
    layer.whole.add(SECTION)
    layer.keys = _renamed(layer.keys, moved)
    layer.values = _renamed(layer.values, moved)


def _name(entry: Any, at: Path, layer: Layer, findings: Findings) -> str | None:
    place = layer.values[at]
    if not isinstance(entry, dict):
        findings.add(
            "an entry of a list of callbacks is a mapping with `kind:`, or a short name",
            place,
            at,
            received=repr(entry),
        )
        return None
    name = entry.get("name")
    if name is None:
        kind = entry.get("kind")
        if not isinstance(kind, str) or "${" in kind:
            findings.add(
                "an entry of a list of callbacks needs a `kind:` (or a `name:` as well, when the "
                "kind is interpolated)",
                place,
                at,
                received=", ".join(f"`{key}`" for key in entry) or "an empty mapping",
            )
            return None
        return name_of_kind(kind)
    if not isinstance(name, str):
        findings.add("a callback's `name` is text", layer.values[(*at, "name")], (*at, "name"))
        return None
    return name


def _renamed(places: dict[Path, Any], moved: dict[Path, Path]) -> dict[Path, Any]:
    kept = {}
    for path, place in places.items():
        if path[:1] == SECTION and len(path) > 1:
            if path[:2] not in moved:
                continue
            path = moved[path[:2]] + path[2:]
        kept[path] = place
    return kept
