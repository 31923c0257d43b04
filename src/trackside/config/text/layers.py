"""Several files and overrides to one configuration that knows where each value came from.

The rules, in the order in which people ask for them:

* Files are laid on one another in the order in which they are named; overrides come on top.
* Mappings are merged key by key. Anything else (a value, a list, null) replaces what was there.
* A mapping whose `kind` differs from that below replaces it whole: the options of one kind mean
  nothing to another. An override such as `model.kind=Other` changes that one field only.
* Callbacks in a list are a map by name, and the list replaces what was below.
* `${path.to.key}` and `${oc.env:NAME}` are filled in at the end, when everything is merged.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import GrammarParseError

from trackside.config.text.document import Layer, read_file
from trackside.config.text.interpolation import fill_in
from trackside.config.text.naming import SECTION, callbacks_by_name
from trackside.config.text.overrides import SOURCE, Override, is_override, parse_override
from trackside.config.text.place import Path, Place, dotted
from trackside.config.text.problem import Findings
from trackside.config.text.secrets import (
    hide,
    keep_secrets,
    kept_values,
    named_secrets,
    secrets_by_name,
)
from trackside.errors import did_you_mean
from trackside.secret import as_written


@dataclass(frozen=True, slots=True)
class Document:
    """A whole configuration: plain values, and where each was written."""

    value: dict[str, Any]
    """All values, interpolations filled in."""
    written: dict[str, Any]
    """The same before interpolation."""
    layers: tuple[Layer, ...] = ()
    """Files, then overrides."""
    secret: set[Path] = field(default_factory=set)
    """Where values stand that are never shown; what comes from the environment is one as well."""

    def hide(self, path: Path) -> None:
        """Keep the value at `path` secret from now on."""
        self.secret.add(path)
        hide(self.value, self.written, path)

    def is_secret(self, path: Path) -> bool:
        """Whether the value at `path`, or what it is a part of, is never shown."""
        source = self.interpolation(path)
        inside = any(path[: len(one)] == one for one in self.secret)
        return inside or (source is not None and "oc.env" in source)

    def has(self, path: Path) -> bool:
        """Whether any file or override writes something at `path`."""
        return any(path in layer.keys for layer in self.layers)

    def place(self, path: Path, *, key: bool = False) -> Place | None:
        """Where the value (or its key) at `path` was written, or else what encloses it."""
        if path and not self._has_section(path[0]):
            files = [layer.source for layer in self.layers if layer.source != SOURCE]
            return Place(files[-1], 1, 1, "") if files else None
        below = self._first_below(path)  # an override may be all there is of a mapping
        while True:
            for layer in reversed(self.layers):
                found = (key and layer.keys.get(path)) or layer.values.get(path)
                if found is not None and found.excerpt + found.source:
                    return found
            if not path:
                return None
            if below is not None:
                return below
            path, key = path[:-1], True

    def _first_below(self, path: Path) -> Place | None:
        inside = (
            place
            for layer in reversed(self.layers)
            for inner, place in layer.keys.items()
            if len(inner) > len(path) > 0 and inner[: len(path)] == path
        )
        return next((place for place in inside if place.excerpt + place.source), None)

    def _has_section(self, name: str | int) -> bool:
        return any(path[0] == name for layer in self.layers for path in layer.keys)

    def kept(self) -> dict[str, Any]:
        """All values as they may be kept: what is secret as it was written, or else as `???`.

        A key of a service is given as `${oc.env:NAME}`; a value that holds one stays unfilled too.
        """
        kept: dict[str, Any] = kept_values(self.value, self.written, self.secret)
        return kept

    def interpolation(self, path: Path) -> str | None:
        """The interpolation written at `path`, such as `${oc.env:LR}`; None if it was none."""
        value: Any = self.written
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value if isinstance(value, str) and "${" in value else None


def read(files: Sequence[str | FilePath], overrides: Iterable[str], findings: Findings) -> Document:
    """Read files, lay overrides on them, fill in interpolations; tell `findings` what is wrong.

    Raises:
        ExperimentError: A file can't be read at all, so that judging the rest would mislead.
    """
    layers: list[Layer] = []
    value: dict[str, Any] = {}
    for name in files:
        layer = read_file(name, findings)
        if layer is None:
            continue
        callbacks_by_name(layer, findings)
        _refuse_bad_interpolations(layer, (), findings)
        findings.unknown |= layer.unknown
        value = merge(value, layer.value, layer.whole)
        layers.append(layer)
    if len(layers) < len(files):
        findings.stop_if_any()
    for argument in overrides:
        override = parse_override(argument, findings)
        if override is not None:
            applied = _apply(override, value, layers, findings)
            layers += [applied] if applied is not None else []
    document = Document({}, value, tuple(layers))
    filled = fill_in(value, document.place, findings)
    keep_secrets(filled, value)
    document = Document(filled, value, tuple(layers))
    named = named_secrets(filled, document.place, findings)
    for path in [*named, *secrets_by_name(filled)]:
        document.hide(path)
    return document


def split_arguments(arguments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Files and overrides, as they stand mixed on a command line."""
    arguments = list(arguments)
    files = [argument for argument in arguments if not is_override(argument)]
    return files, [argument for argument in arguments if is_override(argument)]


def kept_override(override: str, document: Document) -> str:
    """An override as it may be kept: what is secret as it was written, or else as `???`.

    Args:
        override: `key=value` or `~key`.
        document: The configuration that it is a part of.
    """
    key = override.partition("=")[0]
    keys = tuple(key.split("."))
    for path in document.secret:
        names = tuple(map(str, path))
        inside = names[: len(keys)] == keys or keys[: len(names)] == names
        if inside and "=" in override and document.interpolation(path) is None:
            return f"{key}={MISSING}"
    return as_written(override)


def merge(
    below: dict[str, Any],
    above: dict[str, Any],
    whole: set[Path] = frozenset(),  # type: ignore[assignment]
) -> dict[str, Any]:
    """Lay `above` on `below` by the rules of this module; both stay as they are.

    Args:
        below: Plain values.
        above: Plain values.
        whole: Paths at which `above` replaces a mapping instead of merging with it.
    """
    below = copy.deepcopy(below)
    _clear_what_is_replaced(below, above, whole, ())
    merged = OmegaConf.merge(OmegaConf.create(below), OmegaConf.create(above))
    result = OmegaConf.to_container(merged, resolve=False)
    assert isinstance(result, dict)
    return result  # type: ignore[return-value]


def _clear_what_is_replaced(below: Any, above: Any, whole: set[Path], path: Path) -> None:
    for key in below.keys() & above.keys():
        old, new, at = below[key], above[key], (*path, key)
        if new == MISSING:
            continue
        if not isinstance(old, dict) or not isinstance(new, dict):
            # OmegaConf would refuse a list on a mapping, and look through `${...}` under a mapping.
            below[key] = None
        elif at in whole or _other_kind(old, new):
            below[key] = {}
        else:
            _clear_what_is_replaced(old, new, whole, at)


def _other_kind(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return "kind" in old and "kind" in new and old["kind"] != new["kind"]


def _apply(
    override: Override, value: dict[str, Any], layers: list[Layer], findings: Findings
) -> Layer | None:
    """Change `value` as `override` says; the layer has the places of what it set."""
    *outer, last = override.keys
    container: Any = value
    path: Path = ()
    for key in outer:
        step = _step(container, key, path, override, findings)
        if step is None:
            return None
        path = (*path, step)
        if isinstance(container, dict) and container.get(step) is None:
            if override.value is None:
                _nothing_there(override, path, container, findings)
                return None
            container[step] = {}
        container = container[step]
    step = _step(container, last, path, override, findings)
    if step is None:
        return None
    path = (*path, step)
    if override.value is None:
        _remove(override, container, path, layers, findings)
        return None
    return _set(override.value, container, step, path, override, findings)


def _set(
    given: Layer, container: Any, step: Any, path: Path, override: Override, findings: Findings
) -> Layer:
    place = override.place()
    layer = Layer(given.source, {step: given.value})
    layer.keys = {path: place} | {path + inner: p for inner, p in given.keys.items()}
    layer.values = {path + inner: p for inner, p in given.values.items()}
    if path == SECTION:
        callbacks_by_name(layer, findings)
    _refuse_bad_interpolations(layer, path[:-1], findings)
    findings.unknown |= {path + inner for inner in given.unknown}
    new = layer.value[step]
    old = container[step] if isinstance(container, list) else container.get(step)
    if isinstance(old, dict) and isinstance(new, dict):
        whole = {p[len(path) - 1 :] for p in layer.whole}
        new = merge({str(step): old}, {str(step): new}, whole)[str(step)]
    container[step] = new
    return layer


def _step(
    container: Any, key: str, path: Path, override: Override, findings: Findings
) -> str | int | None:
    """The key or index that `key` means in `container`; None (and a problem) when it has none."""
    place = override.place()
    if isinstance(container, list):
        if key.isdecimal() and int(key) < len(container):
            return int(key)
        findings.add(
            f"`{dotted(path)}` is a list of {len(container)}",
            place,
            (*path, key),
            expected=f"an index from 0 to {len(container) - 1}" if container else "no index at all",
            received=key,
        )
        return None
    if isinstance(container, dict):
        if key not in container and key.isdecimal():
            if int(key) in container:
                return int(key)
            if path == SECTION and int(key) < len(container):
                return str(list(container)[int(key)])
        return key
    findings.add(
        f"`{dotted(path)}` has no keys: it is {container!r}",
        place,
        path,
        remedy=f"set it as a whole: {dotted(path)}=...",
    )
    return None


def _remove(
    override: Override, container: Any, path: Path, layers: list[Layer], findings: Findings
) -> None:
    step = path[-1]
    if isinstance(container, list):
        del container[int(step)]
        for layer in layers:
            layer.forget_item(path)
    elif step in container:
        del container[step]
    elif path[:-1] == SECTION:
        container[step] = None  # a default: taken away where the defaults are known
    else:
        _nothing_there(override, path, container, findings)


def _nothing_there(override: Override, path: Path, container: Any, findings: Findings) -> None:
    findings.add(
        f"there is no `{dotted(path)}` to remove",
        override.place(),
        path,
        remedy=did_you_mean(str(path[-1]), [str(key) for key in container]),
    )


def _refuse_bad_interpolations(layer: Layer, outer: Path, findings: Findings) -> None:
    """Replace text that OmegaConf could not even take in by null, and say so."""

    def check(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: check(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [check(inner, (*path, index)) for index, inner in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            try:
                OmegaConf.create({"text": value})
            except GrammarParseError:
                findings.add(
                    "an interpolation that can't be read",
                    layer.values.get(path),
                    path,
                    expected="${path.to.key}, ${oc.env:NAME} or ${oc.env:NAME,default}",
                    received=value,
                    remedy="write `\\${` for the text `${`",
                )
                findings.unknown.add(path)
                return None
        return value

    layer.value = check(layer.value, outer)
