"""Whether an optimizer is of the kind that a checkpoint was saved with, before it takes its state.

torch loads the options of any optimizer into any other; the first step then fails with a
`KeyError`, or works with options that mean something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from trackside.errors import CheckpointError

_FLAG = "decoupled_weight_decay"
"""Options in which Adam and AdamW differ."""


def refuse_other_optimizers(
    optimizers: Mapping[str, Optimizer], states: Mapping[str, Mapping[str, Any]]
) -> None:
    """Raise `CheckpointError`, with both sides, where an optimizer is of another kind now."""
    for name, optimizer in optimizers.items():
        groups = states[name].get("param_groups") if name in states else None
        if not groups:
            continue
        saved, now = groups[0], optimizer.defaults
        lacking = sorted(now.keys() - saved.keys())
        surplus = sorted(saved.keys() - now.keys() - {"params", "initial_lr"})
        other_flag = _FLAG in saved and _FLAG in now and saved[_FLAG] != now[_FLAG]
        if (lacking and surplus) or other_flag:
            raise CheckpointError(
                f"the optimizer {name!r} is of another kind than the one in the checkpoint",
                expected=_told(saved, surplus, other_flag),
                received=f"{type(optimizer).__name__}, {_told(now, lacking, other_flag)}",
                remedy="build the optimizer as it was; to begin with the weights alone, use the "
                "callback `LoadWeights`",
            )


def _told(options: Mapping[str, Any], names: list[str], other_flag: bool) -> str:
    parts = [", ".join(names)] if names else []
    parts += [f"{_FLAG}={options[_FLAG]}"] if other_flag else []
    return "an optimizer with the options " + ", ".join(parts)
