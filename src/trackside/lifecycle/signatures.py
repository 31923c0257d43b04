"""The signatures of hooks: refused when a callback joins, not when the hook first fires."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from inspect import Parameter, Signature
from types import CodeType, FunctionType
from typing import Any

from trackside.errors import HookSignatureError
from trackside.lifecycle.hooks import CONTEXTS, CUSTOM_EVENTS, HOOKS, Callback, is_overridden

_BUILT_IN = (*HOOKS, *CONTEXTS, "state_dict", "load_state_dict")
_BY_PLACE = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_OPEN = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_NOT_PLAIN = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)


def check_signatures(callback: Callback[Any]) -> None:
    """Refuse a callback with a method that can't be called as its hook is called.

    Raises:
        HookSignatureError: Names the method and shows the right signature.
    """
    for name, hooks in _called(callback):
        method = getattr(callback, name)
        if not any(_is_written_alike(method, hook) for hook in hooks):
            title = f"{type(callback).__name__}.{name}"
            _check(method, title, f"def {name}", [_arguments(one) for one in hooks], ("self",))


def check_function(function: Callable[..., Any], hook: Callable[..., Any]) -> None:
    """Refuse a function given to `on(hook)` that can't be called as the hook is.

    Raises:
        HookSignatureError: Names the function and shows the right signature.
    """
    name = getattr(function, "__name__", repr(function))
    _check(function, f"{name}` as `{hook.__name__}", f"def {name}", [_arguments(hook)], ())


def _called(callback: Callback[Any]) -> Iterator[tuple[str, list[Callable[..., Any]]]]:
    """Methods that will be called, each with the hooks that it may be called as."""
    for name in _BUILT_IN:
        if is_overridden(callback, name):
            yield name, [getattr(Callback, name)]
    for name, declared in {**_declared_by_bases(callback), **CUSTOM_EVENTS}.items():
        if name not in _BUILT_IN and hasattr(callback, name):
            yield name, declared


def _declared_by_bases(callback: Callback[Any]) -> dict[str, list[Callable[..., Any]]]:
    """The events that its classes declare: methods by name, those of subclasses first."""
    found: dict[str, list[Callable[..., Any]]] = {}
    for cls in type(callback).__mro__:
        for name, method in vars(cls).items():
            if hasattr(method, "__hook__") and callable(method):
                found.setdefault(name, []).append(method)
    return found


def _is_written_alike(method: Any, hook: Callable[..., Any]) -> bool:
    """Whether a method has the parameters of its hook, by their names; nearly all have.

    Signatures, which take 0.1 ms each to make, are compared for the others only.
    """
    own, meant = getattr(method, "__func__", None), hook
    if not (isinstance(own, FunctionType) and isinstance(meant, FunctionType)):
        return False
    parameters = _plain_parameters(own.__code__)
    return parameters is not None and parameters == _plain_parameters(meant.__code__)


def _plain_parameters(code: CodeType) -> tuple[str, ...] | None:
    """Names of the parameters after `self`; None where there are others than ordinary ones."""
    if code.co_flags & _NOT_PLAIN or code.co_kwonlyargcount or not code.co_argcount:
        return None
    return code.co_varnames[1 : code.co_argcount]


def _arguments(hook: Callable[..., Any]) -> Signature:
    """Parameters of a hook without `self`."""
    signature = inspect.signature(hook)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _check(
    method: Any, title: str, opening: str, declared: list[Signature], before: tuple[str, ...]
) -> None:
    problem = _problem(method, declared)
    if problem is not None:
        right = f"{opening}{_shown(declared[0], before)}"
        raise HookSignatureError(
            f"`{title}` {problem}",
            expected=right,
            received=_received(method, opening),
            remedy=f"define it as `{right}: ...`",
        )


def _problem(method: Any, declared: list[Signature]) -> str | None:
    """Why `method` can't be called by any of the `declared` signatures; None when it can."""
    if not callable(method):
        return "is not a method: it can't be called"
    if inspect.iscoroutinefunction(method):
        return "is a coroutine: nothing would await it"
    if inspect.isgeneratorfunction(method):
        return "is a generator: its body would never run"
    try:
        signature = inspect.signature(method)
    except ValueError:  # a method without `self`, or a function written in C that doesn't say
        return "doesn't take `self`" if inspect.ismethod(method) else None
    problems = [_mismatch(signature, one) for one in declared]
    return None if None in problems else problems[0]


def _mismatch(own: Signature, declared: Signature) -> str | None:
    kinds = {parameter.kind for parameter in declared.parameters.values()}
    if kinds & set(_OPEN):
        return None  # it says itself that it may be called with anything
    by_place = [p.name for p in declared.parameters.values() if p.kind in _BY_PLACE]
    by_name = {p.name: None for p in declared.parameters.values() if p.name not in by_place}
    try:
        own.bind(*by_place, **by_name)
    except TypeError:
        return "can't be called with the arguments of the hook"
    taken = [p.name for p in own.parameters.values() if p.kind in _BY_PLACE]
    for given, meant in zip(taken, by_place, strict=False):
        if given != meant and given in by_place:
            return f"takes `{given}` in the place of `{meant}`"
    return None


def _received(method: Any, opening: str) -> str:
    if not callable(method):
        return repr(method)
    function = method.__func__ if inspect.ismethod(method) else method
    shown = f"{opening}{_shown(inspect.signature(function), ())}"
    return f"async {shown}" if inspect.iscoroutinefunction(method) else shown


def _shown(signature: Signature, before: tuple[str, ...]) -> str:
    """The names of the parameters, without types: `(self, run, metrics)`."""
    own = [Parameter(name, Parameter.POSITIONAL_ONLY) for name in before]
    rest = [p.replace(annotation=Parameter.empty) for p in signature.parameters.values()]
    if own and rest and rest[0].kind in _BY_PLACE:
        own = [p.replace(kind=rest[0].kind) for p in own]
    text = str(Signature([*own, *rest]))
    return text.replace("(self, /", "(self")
