"""Paths of attributes: text that names an attribute in a run, such as `model.encoder.dropout.p`.

| address | what it names |
|---|---|
| `model.head.dropout.p` | an attribute of the model, or of a module inside |
| `models.generator.scale` | the same in one of several models |
| `loss.label_smoothing` | an attribute of the trainer's loss |
| `optimizer.weight_decay` | an option of all groups of the optimizer (of all optimizers) |
| `optimizer.1.lr` | of one group, counted from 0 |
| `optimizers.generator.lr`, `optimizers.generator.0.lr` | of one of several optimizers |
| `metrics.fid.inception`, `callbacks.ema` | a part of a metric, a callback |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from trackside.errors import ConfigurationError, did_you_mean
from trackside.run import Run

ROOTS = ("model", "models", "loss", "optimizer", "optimizers", "metrics", "callbacks")


@final
@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute, or one key of an optimizer's group, that can be read and set."""

    owner: Any
    name: str

    def get(self) -> Any:
        """The current value."""
        if isinstance(self.owner, dict):
            return self.owner[self.name]
        return getattr(self.owner, self.name)

    def put(self, value: Any) -> None:
        """Set the value. A tensor is filled in place: whatever refers to it sees the change."""
        if isinstance(current := self.get(), Tensor) and not isinstance(value, Tensor):
            with torch.no_grad():
                current.fill_(value)
        elif isinstance(self.owner, dict):
            self.owner[self.name] = value
        else:
            setattr(self.owner, self.name, value)


def places(run: Run, address: str) -> list[Attribute]:
    """All places in `run` that `address` names; several where it names all groups.

    Raises:
        ConfigurationError: The address names nothing; says which part isn't found.
    """
    root, *path = address.split(".")
    if root not in ROOTS:
        raise _missing(address, root, ROOTS, "a part of a run")
    if root in ("optimizer", "optimizers"):
        return _in_groups(run, address, root, path)
    if root == "loss":
        return [_inside(address, _loss(run, address), path)]
    if root == "model":
        return [_inside(address, run.model, path)]
    found: Mapping[str, Any] = run.models
    if root == "metrics":
        found = getattr(run.steps, "metrics", {})
    elif root == "callbacks":
        found = dict(run.callbacks.items())
    if not path or path[0] not in found:
        raise _missing(address, path[0] if path else "", found, f"one of `{root}`")
    return [_inside(address, found[path[0]], path[1:], holder=Attribute(found, path[0]))]


def _loss(run: Run, address: str) -> Any:
    loss = getattr(run.steps, "loss", None)
    if loss is None:
        raise ConfigurationError(
            f"`{address}` names a part of the loss, and the trainer has none",
            remedy="give it to the trainer, `Trainer(loss=...)`, or name a part of the model",
        )
    return loss


def _inside(
    address: str, start: Any, path: list[str], holder: Attribute | None = None
) -> Attribute:
    if not path:
        return holder or Attribute({"itself": start}, "itself")
    owner = start
    for part in path[:-1]:
        owner = _step(address, owner, part)
    _step(address, owner, path[-1])
    return Attribute(owner, path[-1])


def _step(address: str, owner: Any, part: str) -> Any:
    if isinstance(owner, Mapping) and part in owner:
        return owner[part]
    if hasattr(owner, part):
        return getattr(owner, part)
    known = [name for name in vars(owner) if not name.startswith("_")]
    if isinstance(owner, nn.Module):
        known += [*owner._modules, *owner._parameters, *owner._buffers]
    raise _missing(address, part, known, f"a part of `{type(owner).__name__}`")


def _in_groups(run: Run, address: str, root: str, path: list[str]) -> list[Attribute]:
    optimizers = dict(run.optimizers)
    if root == "optimizers":
        if not path or path[0] not in optimizers:
            raise _missing(address, path[0] if path else "", optimizers, "one of `optimizers`")
        optimizers = {path[0]: optimizers[path[0]]}
        path = path[1:]
    groups = [group for optimizer in optimizers.values() for group in optimizer.param_groups]
    if path and path[0].isdigit():
        if int(path[0]) >= len(groups):
            raise ConfigurationError(
                f"`{address}` names a group that isn't there",
                expected=f"a number below {len(groups)}, the number of groups",
                received=path[0],
            )
        groups = [groups[int(path[0])]]
        path = path[1:]
    known = {name for group in groups for name in group if name != "params"}
    if len(path) != 1 or path[0] not in known:
        raise _missing(address, ".".join(path), known, "an option of the optimizer's groups")
    return [Attribute(group, path[0]) for group in groups if path[0] in group]


def _missing(address: str, part: str, known: Iterable[str], noun: str) -> ConfigurationError:
    return ConfigurationError(
        f"`{address}` names nothing in this run",
        expected=noun,
        received=part or "nothing",
        remedy=did_you_mean(part, known),
    )
