"""Whether a saved model fits a model that has changed since, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from trackside.checkpoint.errors import StateMismatchError

_LISTED = 20

# What wrappers put before the names of parameters.
_PREFIXES = {"_orig_mod.": "torch.compile", "module.": "DistributedDataParallel"}


@dataclass(frozen=True, slots=True)
class ModelMatch:
    """How the weights in a checkpoint and the weights of a model differ."""

    matched: tuple[str, ...]
    """In both, with the same shape."""
    missing: tuple[str, ...]
    """The model has them, the checkpoint doesn't."""
    unexpected: tuple[str, ...]
    """The checkpoint has them, the model doesn't."""
    shapes: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    """In both: name, shape in the checkpoint, shape in the model."""

    @property
    def exact(self) -> bool:
        """Whether every weight has its partner."""
        return not (self.missing or self.unexpected or self.shapes)

    def __str__(self) -> str:
        if self.exact:
            return f"all {len(self.matched)} weights match"
        own = len(self.matched) + len(self.missing) + len(self.shapes)
        lines = [f"{len(self.matched)} of the model's {own} weights match"]
        lines += _listed("missing in the checkpoint", self.missing)
        lines += _listed("not in the model", self.unexpected)
        lines += _listed(
            "of another shape",
            [f"{name}: {saved} saved, {own} in the model" for name, saved, own in self.shapes],
        )
        hint = self._prefix_hint()
        return "\n".join([*lines, hint] if hint else lines)

    def _prefix_hint(self) -> str | None:
        for prefix, wrapper in _PREFIXES.items():
            for names, where in ((self.unexpected, "checkpoint"), (self.missing, "model")):
                if names and all(name.startswith(prefix) for name in names):
                    return (
                        f"the names in the {where} begin with `{prefix}`, as {wrapper} makes them"
                    )
        return None


def match_model(state: Mapping[str, Any], model: nn.Module) -> ModelMatch:
    """Compare the weights in `state` with those of `model`. Changes nothing.

    Args:
        state: A model's state by name, as `model.state_dict()` gives it.
        model: The model to load it into.
    """
    own = model.state_dict()
    matched: list[str] = []
    shapes: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    for name in own:
        if name not in state:
            continue
        saved_shape, own_shape = _shape(state[name]), _shape(own[name])
        if saved_shape == own_shape:
            matched.append(name)
        else:
            shapes.append((name, saved_shape, own_shape))
    missing = tuple(name for name in own if name not in state)
    unexpected = tuple(name for name in state if name not in own)
    return ModelMatch(tuple(matched), missing, unexpected, tuple(shapes))


def load_model(state: Mapping[str, Any], model: nn.Module, *, strict: bool = True) -> ModelMatch:
    """Load the weights in `state` into `model`, all of them or those that match.

    Args:
        state: A model's state by name.
        model: What it is loaded into, in place.
        strict: Whether a difference is an error. False loads what matches.

    Raises:
        StateMismatchError: with the whole report; the model is as it was.
    """
    match = match_model(state, model)
    if strict:
        if not match.exact:
            raise StateMismatchError(
                f"the checkpoint doesn't fit the model: {match}",
                remedy="build the model as it was, or load without strictness what matches",
            )
        model.load_state_dict(state)
    else:
        model.load_state_dict({name: state[name] for name in match.matched}, strict=False)
    return match


def _shape(value: Any) -> tuple[int, ...]:
    # Extra state of a module need not be a tensor.
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _listed(title: str, lines: Iterable[str]) -> list[str]:
    found = list(lines)
    if not found:
        return []
    shown = [f"    {line}" for line in found[:_LISTED]]
    if len(found) > _LISTED:
        shown.append(f"    and {len(found) - _LISTED} more")
    return [f"  {title}:", *shown]
