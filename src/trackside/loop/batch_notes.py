"""The batch of a step, told in an error of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from traceback import walk_tb
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from trackside.data.batches import describe
from trackside.errors import TracksideError
from trackside.loop.state import Setup

_DISPATCH = "trackside.lifecycle."


def note_batch(error: Exception, step: str, batch: Any, setup: Setup) -> None:
    """Add types and shapes of the batch to an error of a step, which torch speaks of without both.

    Args:
        error: What the step raised. An error of ours says what it received by itself.
        step: Name of the step.
        batch: What the step got.
        setup: The run's, for the types of the models' parameters.
    """
    if isinstance(error, TracksideError):
        return
    note = f"`{step}` got the batch {describe(batch)}"
    parts = {part.dtype for part in tree_leaves(batch) if isinstance(part, Tensor)}
    own = {one.dtype for model in setup.modules.values() for one in model.parameters()}
    floats = {kind for kind in parts if kind.is_floating_point}
    if own and floats and not floats & own:
        names = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in own))
        note += f"; the model's parameters are {names}"
    error.add_note(note)


def batch_at(error: Exception, function: Callable[..., Any]) -> Any:
    """The local `batch` of `function` where the error passed through it; None after one of a hook.

    A `try` around each step would cost every step; this costs only the one that fails.
    """
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    for frame, inner in pairwise(frames):
        of_a_hook = inner.f_globals.get("__name__", "").startswith(_DISPATCH)
        if frame.f_code is function.__code__ and not of_a_hook:
            return frame.f_locals.get("batch")
    return None
