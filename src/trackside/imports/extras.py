"""Packages that only some callbacks need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from trackside.errors import ConfigurationError


def optional_package(module: str, *, needed_by: str, extra: str) -> Any:
    """The module, imported.

    Args:
        module: Its full name.
        needed_by: The callback, for the message.
        extra: Trackside's extra that installs it.

    Raises:
        ConfigurationError: It isn't installed; says what to type.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"`{needed_by}` needs the package {error.name or module}, which is not installed",
            remedy=f"pip install 'trackside[{extra}]'",
        ) from error
