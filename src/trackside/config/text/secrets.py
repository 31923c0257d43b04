"""Secrets of a configuration, such as keys of services: used, and never written down.

They are what comes from the environment, what the section `secrets` names, and the options that a
constructor declares as `Secret`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

from omegaconf import MISSING

from trackside.config.text.place import Path, Place, dotted
from trackside.config.text.problem import Findings
from trackside.errors import did_you_mean
from trackside.secret import (
    HIDDEN,
    environment_secrets,
    has_secret_name,
    keep_secret,
    texts,
)

SECTION = "secrets"
_SOURCE = "oc.env"
_VARIABLE = re.compile(r"oc\.env:\s*(\w+)")
_SHORTEST = 4
"""Characters of a value that is looked for inside others: `1` is in half of all values."""


def kept_values(value: Any, written: Any, hidden: Collection[Path] = ()) -> Any:
    """A copy of `value` in which what is secret stays as it was written.

    Args:
        value: Plain values, interpolations filled in.
        written: The same before that.
        hidden: Where secrets stand that may be written out: `???` takes the place of those, as of a
            value that has to be given.
    """
    secrets: set[str] = set()
    _collect(value, written, secrets)
    for path in hidden:
        secrets.update(texts(at(value, path)))
    secrets = {text for text in secrets if len(text) >= _SHORTEST}
    return _masked(value, written, secrets, frozenset(hidden), ())


def hide(value: Any, written: Any, path: Path) -> None:
    """Let no message show the value at `path`; see `secret.keep_secret`."""
    source = at(written, path)
    known = isinstance(source, str) and "${" in source
    keep_secret(at(value, path), source if known else HIDDEN)


def named_secrets(
    value: dict[str, Any], place: Callable[[Path], Place | None], findings: Findings
) -> list[Path]:
    """Where the values stand that the section `secrets` names; a name of nothing is refused."""
    names = value.get(SECTION)
    if names is None:
        return []
    if not isinstance(names, list):
        form = "a list of keys: [callbacks.notify.url]"
        findings.add(f"`{SECTION}` must be a list", place((SECTION,)), (SECTION,), expected=form)
        return []
    known = {dotted(path): path for path in _paths(value, ())}
    for index, name in enumerate(names):
        if str(name) not in known:
            findings.add(
                f"`{name}` isn't a key of this configuration: nothing would be kept secret",
                place((SECTION, index)),
                (SECTION, index),
                remedy=did_you_mean(str(name), known),
            )
    return [known[str(name)] for name in names if str(name) in known]


def secrets_by_name(value: dict[str, Any]) -> list[Path]:
    """Where texts stand that are secrets by their key, or that the environment has as secrets."""
    outside = environment_secrets()
    return [
        path
        for path, leaf in _leaves(value, ())
        if isinstance(leaf, str)
        and (has_secret_name(_key(path)) or any(secret in leaf for secret in outside))
        and len(leaf) >= _SHORTEST
    ]


def _key(path: Path) -> str:
    return next((step for step in reversed(path) if isinstance(step, str)), "")


def at(value: Any, path: Path) -> Any:
    """The value at a path; None where there is nothing."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def keep_secrets(value: Any, written: Any) -> None:
    """Let no message show what comes from the environment; see `secret.keep_secret`."""
    if isinstance(written, str):
        if _SOURCE in written:
            for _, leaf in _leaves(value, ()):
                keep_secret(str(leaf), written)
            for name in _VARIABLE.findall(written):
                keep_secret(os.environ.get(name, ""), f"${{oc.env:{name}}}")
        return
    for inner, inner_written in _pairs(value, written):
        keep_secrets(inner, inner_written)


def _collect(value: Any, written: Any, secrets: set[str]) -> None:
    if isinstance(written, str):
        if _SOURCE in written:
            secrets.update(str(leaf) for _, leaf in _leaves(value, ()))
        return
    for inner, inner_written in _pairs(value, written):
        _collect(inner, inner_written, secrets)


def _masked(
    value: Any, written: Any, secrets: set[str], hidden: frozenset[Path], path: Path
) -> Any:
    if isinstance(written, str) and "${" in written:
        leaves = [str(leaf) for _, leaf in _leaves(value, ())]
        has = path in hidden or any(one in text for text in leaves for one in secrets)
        return written if has or _SOURCE in written else value
    if path in hidden:
        return None if value is None else MISSING
    if isinstance(value, dict) and isinstance(written, dict):
        return {
            key: _masked(inner, written.get(key), secrets, hidden, (*path, key))
            for key, inner in value.items()
        }
    if isinstance(value, list) and isinstance(written, list):
        return [
            _masked(inner, one, secrets, hidden, (*path, index))
            for index, (inner, one) in enumerate(zip(value, written, strict=True))
        ]
    return value


def _pairs(value: Any, written: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict) and isinstance(written, dict):
        return [(inner, written.get(key)) for key, inner in value.items()]
    if isinstance(value, list) and isinstance(written, list):
        return list(zip(value, written, strict=True))
    return []


def _paths(value: Any, path: Path) -> Iterator[Path]:
    inside = enumerate(value) if isinstance(value, list) else ()
    for key, inner in value.items() if isinstance(value, dict) else inside:
        yield (*path, key)
        yield from _paths(inner, (*path, key))


def _leaves(value: Any, path: Path) -> list[tuple[Path, Any]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, (*path, key))]
    if isinstance(value, list):
        return [leaf for i, inner in enumerate(value) for leaf in _leaves(inner, (*path, i))]
    return [(path, value)]
