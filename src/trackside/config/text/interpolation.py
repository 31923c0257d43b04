"""`${data.batch_size}` and `${oc.env:NAME}`: filled in by OmegaConf, refused with a place."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import (
    InterpolationKeyError,
    InterpolationToMissingValueError,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
)

from trackside.config.text.expansion import too_large, without
from trackside.config.text.place import Path, Place, dotted
from trackside.config.text.problem import Findings
from trackside.errors import did_you_mean, nearest

RESOLVERS = ("oc.env", "oc.decode", "oc.select", "oc.create", "oc.dict.keys", "oc.dict.values")
"""Names allowed before a colon; none of them runs code or reads a file."""


def fill_in(
    written: dict[str, Any], place: Callable[[Path], Place | None], findings: Findings
) -> dict[str, Any]:
    """A copy of `written` with every interpolation replaced by what it refers to."""
    refused = too_large(written)
    for path, why in refused.items():
        findings.unknown.add(path)
        if path == next(iter(refused)):
            remedy = "write the value out, or refer to a smaller one"
            findings.add(f"this can't be filled in: {why}", place(path), path, remedy=remedy)
    written = without(written, refused)
    filling = _Filling(place, findings, sorted(dotted(path) for path in _paths(written, ())))
    filled = filling.container(OmegaConf.create(written), ())
    assert isinstance(filled, dict)
    return filled


class _Filling:
    def __init__(
        self, place: Callable[[Path], Place | None], findings: Findings, known: list[str]
    ) -> None:
        self.place = place
        self.findings = findings
        self.known = known
        self.open: list[DictConfig | ListConfig] = []
        """Containers that are being copied: meeting one of them again would never end."""

    def container(self, node: Any, path: Path) -> Any:
        if not isinstance(node, (DictConfig, ListConfig)):
            return node
        if any(node is other for other in self.open):
            self.findings.add("this refers to itself", self.place(path), path)
            self.findings.unknown.add(path)
            return None
        self.open.append(node)
        try:
            if isinstance(node, DictConfig):
                keys: list[Any] = list(node)
                return {key: self.item(node, key, (*path, key)) for key in keys}
            return [self.item(node, index, (*path, index)) for index in range(len(node))]
        finally:
            self.open.pop()

    def item(self, node: DictConfig | ListConfig, key: Any, path: Path) -> Any:
        if OmegaConf.is_missing(node, key):
            self.findings.unknown.add(path)
            self.findings.add(
                "`???` stands for a value that has to be given",
                self.place(path),
                path,
                remedy=f"give it in a later file, or on the command line: {dotted(path)}=...",
            )
            return None
        try:
            value = node[key]
        except OmegaConfBaseException as error:
            plain: Any = OmegaConf.to_container(node, resolve=False)
            self.refuse(error, str(plain[key]), path)
            return None
        return self.container(value, path)

    def refuse(self, error: OmegaConfBaseException, text: str, path: Path) -> None:
        first = str(error).splitlines()[0]
        word = (re.findall(r"'([^']*)'", first) or [""])[0]
        remedy = None
        if "Environment variable" in first:
            message = f"the environment variable `{word}` is not set"
            remedy = f"set it, or give a default: ${{oc.env:{word},default}}"
        elif isinstance(error, InterpolationKeyError):
            message = f"`{text}` refers to nothing: there is no `{word}`"
            near = nearest(word, self.known)
            remedy = f"did you mean `${{{near}}}`?" if near else None
        elif isinstance(error, InterpolationToMissingValueError):
            message = f"`{text}` refers to a value that has not been given (`???`)"
        elif isinstance(error, UnsupportedInterpolationType):
            word = first.rpartition(" ")[2]
            message = f"there is no `{word}:` to interpolate with"
            remedy = did_you_mean(word, RESOLVERS)
        elif "Recursive" in first:
            message = f"`{text}` refers to itself"
        else:
            message = f"`{text}` can't be filled in: {first}"
        self.findings.add(message, self.place(path), path, remedy=remedy)
        self.findings.unknown.add(path)


def _paths(value: Any, path: Path) -> list[Path]:
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path] * bool(path) + [p for key, item in inner for p in _paths(item, (*path, key))]
