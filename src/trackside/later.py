"""Attributes that are set while a run is prepared: read too early, they say from when on."""

from __future__ import annotations

from typing import Any

from trackside.errors import WrongTimeError


class NotYetKnownError(WrongTimeError, AttributeError):
    """Something of a run was read before it is known."""


class KnownFrom:
    """Stands for an attribute until it is set.

    It has no `__set__`, so that Python finds the value in the object itself, once there is one, and
    reading it costs nothing more.
    """

    def __init__(self, hook: str, name: str | None) -> None:
        self.hook = hook
        self.name = name or ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = self.name or name

    def __get__(self, run: object, owner: type | None = None) -> Any:
        if run is None:
            return self
        raise NotYetKnownError(
            f"`run.{self.name}` was read before it is known",
            expected=f"from `{self.hook}` on",
            remedy=f"read it in `{self.hook}`, or in a later hook",
        )


def known_from(hook: str, name: str | None = None) -> Any:
    """An attribute that is known from `hook` on; `name` where it is read under another one."""
    return KnownFrom(hook, name)
