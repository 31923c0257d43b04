"""Hooks that a loop by hand fires by itself, and those that fire where the loop says so."""

from __future__ import annotations

from trackside.errors import UsageError
from trackside.lifecycle.hooks import HOOKS, Callback, is_overridden
from trackside.loop.state import Training

BACKWARD = "`run.backward(loss)` in the place of `loss.backward()`"
ZERO_GRAD = "`run.zero_grad()` in the place of `optimizer.zero_grad()`, before `run.step_done`"
IF_TOLD = {
    "on_backward_start": BACKWARD,
    "on_backward_end": BACKWARD,
    "on_zero_grad_start": ZERO_GRAD,
    "on_zero_grad_end": ZERO_GRAD,
}
"""Hooks that need a word of the loop, and the word."""
NEVER = tuple(name for name in HOOKS if name.startswith("on_predict_"))
"""Hooks of another kind of run, which don't fire in a trainer's fit either."""
FIRED = tuple(name for name in HOOKS if name not in NEVER and name not in IF_TOLD)
"""Hooks that fire in every loop by hand."""


def refuse_unfired(training: Training, word: str) -> None:
    """Refuse to go on where callbacks wait for a hook, and the loop hasn't said its word.

    Args:
        training: The run.
        word: `BACKWARD` or `ZERO_GRAD`, which the loop has left out until now.

    Raises:
        UsageError: Names the callbacks and their hooks.
    """
    hooks = [name for name, needed in IF_TOLD.items() if needed == word]
    if not training.setup.events.has_listeners(*(getattr(Callback, name) for name in hooks)):
        return
    found = {
        name: ", ".join(hook for hook in hooks if is_overridden(callback, hook))
        for name, callback in training.run.callbacks.items()
    }
    raise UsageError(
        "a callback waits for a hook that the loop by hand has not fired",
        expected=word,
        received="; ".join(f"{name} ({hooks})" for name, hooks in found.items() if hooks),
        remedy="write it so, or leave the callback out",
        option="callbacks",
    )
