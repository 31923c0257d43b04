"""Values from the environment, such as keys of services: used, and never written down."""

from __future__ import annotations

import os
import re
from typing import Any

from trackside.config.text.place import Path
from trackside.errors import keep_secret

_SOURCE = "oc.env"
_VARIABLE = re.compile(r"oc\.env:\s*(\w+)")
_SHORTEST = 4
"""Characters of a value that is looked for inside others: `1` is in half of all values."""


def kept_values(value: Any, written: Any) -> Any:
    """A copy of `value` in which what comes from the environment stays as it was written.

    Args:
        value: Plain values, interpolations filled in.
        written: The same before that.
    """
    secrets: set[str] = set()
    _collect(value, written, secrets)
    return _masked(value, written, {text for text in secrets if len(text) >= _SHORTEST})


def keep_secrets(value: Any, written: Any) -> None:
    """Let no message show what comes from the environment; see `errors.keep_secret`."""
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


def _masked(value: Any, written: Any, secrets: set[str]) -> Any:
    if isinstance(written, str) and "${" in written:
        texts = [str(leaf) for _, leaf in _leaves(value, ())]
        hidden = _SOURCE in written or any(one in text for text in texts for one in secrets)
        return written if hidden else value
    if isinstance(value, dict) and isinstance(written, dict):
        return {key: _masked(inner, written.get(key), secrets) for key, inner in value.items()}
    if isinstance(value, list) and isinstance(written, list):
        return [_masked(a, b, secrets) for a, b in zip(value, written, strict=True)]
    return value


def _pairs(value: Any, written: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict) and isinstance(written, dict):
        return [(inner, written.get(key)) for key, inner in value.items()]
    if isinstance(value, list) and isinstance(written, list):
        return list(zip(value, written, strict=True))
    return []


def _leaves(value: Any, path: Path) -> list[tuple[Path, Any]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, (*path, key))]
    if isinstance(value, list):
        return [leaf for i, inner in enumerate(value) for leaf in _leaves(inner, (*path, i))]
    return [(path, value)]
