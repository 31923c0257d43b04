"""Values as their callbacks read them: under their names, and on the host only when asked for."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

import torch
from torch import Tensor

from trackside.step.output import as_output


class LateValues(dict[str, Any]):
    """A dict whose tensors of one element become numbers when they are read.

    A callback that reads `logs["loss"]` waits for the device; one that doesn't, doesn't.
    """

    # `__iter__` has to be here: without it, dict(logs) and {**logs} copy what lies inside as it is.
    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
            self[key] = value
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, as a number, or `default`."""
        return self[key] if key in self else default  # noqa: SIM401 - this is that method

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """The names."""
        return KeysView(self)

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """All values, as numbers."""
        return ValuesView(self)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """Names and values, as numbers."""
        return ItemsView(self)

    def pop(self, key: str, *default: Any) -> Any:
        """Remove `key` and return its value, as a number."""
        if key in self:
            self[key] = self[key]
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of `key`, as a number; `default` where there is none, which is then kept."""
        if key not in self:
            self[key] = default
        return self[key]

    def copy(self) -> dict[str, Any]:
        """A plain dict of all values, as numbers."""
        return dict(self)

    def __repr__(self) -> str:
        return repr(dict(self))


def renamed(metrics: Mapping[str, Any], prefixes: Mapping[str, str]) -> dict[str, Any]:
    """Metrics under their names: `{"val/": "val_"}` makes `val_loss` of `val/loss`.

    Names that begin with none of the prefixes keep theirs, with `_` for the slash.
    """
    found = {}
    for name, value in metrics.items():
        for ours, theirs in prefixes.items():
            if name.startswith(ours):
                found[theirs + name[len(ours) :]] = value
                break
        else:
            found[name.replace("/", "_")] = value
    return found


def loss_of(output: Any) -> Tensor:
    """The loss that a step returned, without its gradient, shape `()`."""
    return as_output(output).loss.detach()


def as_mapping(output: Any, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The output of a step as a dict, its own where it is one; tensors without their gradient.

    Args:
        output: What the step returned.
        names: Their names for `prediction` and the other fields of `Output`.
    """
    if isinstance(output, Mapping):
        fields = dict(output)
    else:
        made = as_output(output)._asdict()
        fields = {(names or {}).get(k, k): v for k, v in made.items() if v is not None}
    return {k: v.detach() if isinstance(v, Tensor) else v for k, v in fields.items()}


def on_host(value: Any) -> Any:
    """A tensor of one element as a number; anything else as it is."""
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


def is_number(value: Any) -> bool:
    """Whether `value` can be logged: a number, or a tensor of one element."""
    if isinstance(value, Tensor):
        return value.numel() == 1 and value.dtype is not torch.bool
    return isinstance(value, (int, float)) and not isinstance(value, bool)
