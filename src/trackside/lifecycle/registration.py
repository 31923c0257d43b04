"""Checks at a callback's registration: hooks, declarations, the run that it needs."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from typing_extensions import TypeVar

from trackside.errors import (
    MissingRequirementError,
    RegistrationError,
    UnknownHookError,
    did_you_mean,
    shortened,
)
from trackside.lifecycle.declarations import check_declarations
from trackside.lifecycle.hooks import CUSTOM_EVENTS, HOOKS, Callback, R
from trackside.lifecycle.injection import Injected, missing_options, parts_needed
from trackside.lifecycle.signatures import check_signatures
from trackside.run import Run
from trackside.secret import keep_secret, secret_options
from trackside.vocabulary import idioms, renamed
from trackside.vocabulary.idioms import native_callback, package_of
from trackside.vocabulary.objects import place_of


def check_callback(callback: Callback[Any], run_class: type[Run]) -> None:
    """Refuse a callback with wrong hooks or declarations, or that needs another kind of run.

    Raises:
        RegistrationError: The subclasses say why.
    """
    _keep_secrets(callback)
    check_hooks(callback)
    check_declarations(callback)
    check_run(callback, run_class)


def _keep_secrets(callback: Callback[Any]) -> None:
    """Let no message show the options that the constructor declares secret."""
    for option in secret_options(type(callback)):
        for name in (option, f"_{option}"):
            keep_secret(getattr(callback, name, None))


def check_hooks(callback: Callback[Any]) -> None:
    """Refuse methods whose name looks like a hook but isn't one, and hooks that can't be called.

    Raises:
        UnknownHookError: Names the method and the nearest right one.
        HookSignatureError: Names the method and shows the right signature.
    """
    _check_names(callback)
    check_signatures(callback)


def _check_names(callback: Callback[Any]) -> None:
    names = [name for cls in type(callback).__mro__ for name in vars(cls)] + list(vars(callback))
    for name in names:
        if not name.startswith("on_") or name in HOOKS or name in CUSTOM_EVENTS:
            continue
        declared = any(hasattr(vars(cls).get(name), "__hook__") for cls in type(callback).__mro__)
        if declared or not callable(getattr(callback, name)):
            continue
        nearest = did_you_mean(name, [*HOOKS, *CUSTOM_EVENTS])
        new = renamed.HOOKS.get(name)
        remedy = f"{nearest} (a custom event is declared with @event)"
        if name in idioms.HOOKS:
            remedy = f"`{idioms.HOOKS[name]}` comes then"
        raise UnknownHookError(
            f"`{type(callback).__name__}.{name}` is not a hook: it would never be called.",
            remedy=remedy if new is None else f"it is called `{new}` now",
        )


def required_run(callback_class: type[Callback[Any]]) -> Any:
    """The `R` of `class X(Callback[R])`: the kind of run it needs; `Run` when it doesn't say."""
    bound: dict[Any, Any] = {}
    for cls in reversed(callback_class.__mro__):
        for base in getattr(cls, "__orig_bases__", ()):
            origin = getattr(base, "__origin__", None)
            parameters = getattr(origin, "__parameters__", ())
            bound.update(zip(parameters, getattr(base, "__args__", ()), strict=False))
    kind = bound.get(R, Run)
    while isinstance(kind, TypeVar) and kind in bound and bound[kind] is not kind:
        kind = bound[kind]
    return Run if isinstance(kind, TypeVar) else kind


def check_run(callback: Callback[Any], run_class: type[Run]) -> None:
    """Refuse a callback whose `Callback[R]` names something that `run_class` doesn't have.

    `R` is a subclass of `Run` or a protocol.

    Raises:
        MissingRequirementError: Names what is missing.
    """
    needed = required_run(type(callback))
    if needed is Any or needed is Run:
        return
    needs = f"`{type(callback).__name__}` needs a run that is a `{needed.__name__}`"
    if getattr(needed, "_is_protocol", False):
        missing = sorted(set(_protocol_members(needed)) - set(_members(run_class)))
        if missing:
            raise MissingRequirementError(
                f"{needs}, and `{run_class.__name__}` has no "
                + ", ".join(f"`{m}`" for m in missing),
                remedy="give the trainer a `run_class` that has them",
            )
    elif not issubclass(run_class, needed):
        raise MissingRequirementError(
            f"{needs}, and `run_class` is `{run_class.__name__}`",
            remedy=f"give the trainer `run_class = {needed.__name__}` or a subclass of it",
        )


def _protocol_members(protocol: type) -> Iterator[str]:
    for cls in protocol.__mro__:
        if getattr(cls, "_is_protocol", False) and cls.__name__ not in ("Protocol", "Generic"):
            members = [*vars(cls), *vars(cls).get("__annotations__", ())]
            yield from (name for name in members if not name.startswith("_"))


def _members(run_class: type) -> Iterator[str]:
    """Attributes of instances of `run_class`: of the class, declared, and set in `__init__`."""
    for cls in run_class.__mro__:
        yield from vars(cls)
        yield from vars(cls).get("__annotations__", ())
        if isinstance(made := vars(cls).get("__init__"), FunctionType):
            yield from (i.argval for i in dis.get_instructions(made) if i.opname == "STORE_ATTR")


def made(callback: Any) -> Any:
    """An instance of a class of callbacks whose constructor needs nothing; others as they are.

    Of one that needs parts of a run only, what stands for it until these are known.
    """
    kind = callback if isinstance(callback, type) and issubclass(callback, Callback) else None
    if kind is None or kind is Callback or missing_options(kind):
        return callback
    parts = parts_needed(kind)
    return Injected(kind, {}, parts) if parts else kind()


def not_ours(given: object) -> RegistrationError:
    """The error for an object that isn't a callback, with a remedy."""
    package = package_of(given)
    kind = given if isinstance(given, type) else type(given)
    remedy = None
    if package is not None:
        remedy = native_callback(given)
    elif (place := place_of(given)) is not None:
        remedy = place
    elif callable(given) and not isinstance(given, type):
        remedy = "say when it is called: `on(Callback.on_epoch_end)(function)`, or as a decorator"
    return RegistrationError(
        f"{shortened(given)} is not a callback",
        expected="an instance of `trackside.Callback`",
        received=kind.__name__ if package is None else f"`{kind.__name__}`, made for {package}",
        remedy=remedy,
    )
