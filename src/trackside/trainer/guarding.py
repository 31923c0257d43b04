"""Guards of hooks: the observer that changed training is named, and so is the hook that waits."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from trackside.data.batches import parts_of
from trackside.errors import ObserverError
from trackside.lifecycle.member import Guard, Member
from trackside.machine import randomness
from trackside.machine.waits import watched_waits
from trackside.requests import SIGNAL
from trackside.run import Run
from trackside.step.copies import copied

logger = logging.getLogger("trackside")
_NAMED = 3
"""Changes that a message names."""


GuardKind = Literal["observers", "waits"] | None
"""Values of `Settings.guard`."""


def guard_of(run: Run, kind: GuardKind) -> Guard | None:
    """The guard that a setting names; None where there is none."""
    if kind is None:
        return None
    return ObserverGuard(run) if kind == "observers" else WaitGuard(run)


class ObserverGuard:
    """Compares what training is made of before and after each hook of an observer, bit by bit.

    Weights, buffers and gradients of all models, the state and options of optimizers, modes, the
    random generators, the tensors that the hook is given, and what is asked of the run. Each call
    copies and compares all of them: a guard for short runs and for tests.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._unsaid: set[str] = set()

    def __call__(self, member: Member, hook: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The guarded call; callbacks that don't observe are called as they are."""
        effect = member.callback.effect
        if effect is None and member.name not in self._unsaid and member.name != "trainer":
            self._unsaid.add(member.name)
            logger.warning("callback %r doesn't declare its effect: it isn't guarded", member.name)
        if effect != "observes" or hook == "on_exception":
            return call

        @functools.wraps(call)
        def guarded(*args: Any) -> Any:
            before = _state(self._run, args)
            result = call(*args)
            if changed := _changes(before, _state(self._run, args)):
                raise _changed(member.name, hook, changed)
            if _is_another(result, args):
                raise _changed(member.name, hook, ["the batch: another one was returned"])
            return result

        return guarded


def _is_another(result: Any, args: tuple[Any, ...]) -> bool:
    return result is not None and not any(result is one for one in args)


def _changed(name: str, hook: str, changed: list[str]) -> ObserverError:
    more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    return ObserverError(
        f"callback {name!r} declares that it observes, and its hook `{hook}` changed "
        + ", ".join(changed[:_NAMED])
        + more,
        expected="hooks of an observer leave training as it is",
        remedy="draw under `randomness.preserved()`, put modes back, work on copies; or declare "
        '`effect = "changes"`, or "steers" where it asks something of the run',
    )


def _state(run: Run, args: tuple[Any, ...]) -> dict[str, Any]:
    """All that is compared, by its name in words; tensors are copies."""
    found: dict[str, Any] = {}
    models = getattr(run, "models", None) or {}
    for name, model in models.items():
        found[f"the modes of {name}"] = [module.training for module in model.modules()]
        for path, tensor in [*model.named_parameters(), *model.named_buffers()]:
            found[f"{path} of {name}"] = copied(tensor)
            found[f"the gradient of {path} of {name}"] = copied(tensor.grad)
            found[f"whether {path} of {name} wants a gradient"] = tensor.requires_grad
    for name, optimizer in (getattr(run, "optimizers", None) or {}).items():
        for number, group in enumerate(optimizer.param_groups):
            options = {key: value for key, value in group.items() if key != "params"}
            found[f"options of group {number} of {name}"] = copied(options)
        state = [copied(dict(one)) for one in optimizer.state.values()]
        found[f"the state of {name}"] = state
    for name, generator in randomness.capture().items():
        found[f"the random generator of {name}"] = copied(generator)
    for number, argument in enumerate(args[1:], 1):
        found[f"a tensor of its argument {number}"] = [
            copied(part) for part in parts_of(argument) if isinstance(part, Tensor)
        ]
    found["the requests of the run: it asked for something"] = [
        one for one in run.requests.asked if one.asked_by != SIGNAL
    ]
    return found


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Names of what isn't bitwise as before."""
    names = dict.fromkeys([*before, *after])
    return [name for name in names if not _same(before.get(name), after.get(name))]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        return torch.equal(_bits(one), _bits(other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if hasattr(one, "tobytes") and hasattr(other, "tobytes"):
        return bool(one.tobytes() == other.tobytes())
    return type(one) is type(other) and (one is other or repr(one) == repr(other))


def _bits(tensor: Tensor) -> Tensor:
    whole = tensor.to_dense() if tensor.layout is not torch.strided else tensor
    return whole.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)


class WaitGuard:
    """Reports each place in a hook at which the host waits for the device, once.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.places: dict[tuple[str, str, str, int], int] = {}
        """How often each place has waited: callback, hook, file and line."""

    def __call__(self, member: Member, hook: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The guarded call."""

        @functools.wraps(call)
        def guarded(*args: Any) -> Any:
            with watched_waits() as waits:
                try:
                    return call(*args)
                finally:
                    for wait in waits:
                        self._note(member.name, hook, wait.file, wait.line, wait.what)

        return guarded

    def _note(self, name: str, hook: str, file: str, line: int, what: str) -> None:
        place = (name, hook, file, line)
        self.places[place] = self.places.get(place, 0) + 1
        if self.places[place] == 1:
            logger.warning(
                "callback %r waits for the device in `%s`: %s at %s:%d",
                name,
                hook,
                what,
                file,
                line,
            )
