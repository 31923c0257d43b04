"""R6: whatever is raised in whichever hook, everybody is closed, and the first error comes out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.faults.figures import Figure
from trackside import Callback, Run
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.lifecycle.hooks import HOOKS
from trackside.testing import tiny_regression
from trackside.trainer.settings import Settings

CONTEXTS = ("step_context", "evaluation_context")
MODES = ("fit", "evaluate", "predict")
ERRORS: dict[str, type[BaseException]] = {
    "error": RuntimeError,
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": SystemExit,
}


class Neighbour(Callback[Run]):
    """Counts how often it was attached and closed."""

    def __init__(self) -> None:
        self.attached = self.closed = 0

    def on_attach(self, run: Run) -> None:
        self.attached += 1

    def on_close(self, run: Run, outcome: Any) -> None:
        self.closed += 1


class Breaks(Neighbour):
    """Closes with an error of its own."""

    def on_close(self, run: Run, outcome: Any) -> None:
        super().on_close(run, outcome)
        raise OSError("closing failed")


class Provokes(Callback[Run]):
    """Brings about what doesn't happen by itself: a stop, an error, a way back."""

    def __init__(self, hook: str) -> None:
        self.hook = hook

    def on_step_end(self, run: Run) -> None:
        if self.hook == "on_stop":
            run.stop("enough")
        if self.hook == "on_exception":
            raise ProvokedError
        if self.hook == "on_roll_back" and run.progress.steps_completed == 2:
            run.roll_back("the second step was bad")


class ProvokedError(Exception):
    """What `on_exception` is told."""


def culprit(hook: str, error: BaseException) -> Callback[Run]:
    """A callback that raises in one hook, the first time it is called."""

    def fails(self: Any, *_: Any) -> None:
        self.fired += 1
        if self.fired == 1:
            raise error

    made: Any = type("Culprit", (Callback,), {hook: fails, "fired": 0})
    callback: Callback[Run] = made()
    return callback


def attempt(mode: str, hook: str, error: BaseException, *, closing_fails: bool) -> bool:
    """Run once with the error in the hook. Returns whether the hook was fired at all."""
    first, last = Neighbour(), Breaks() if closing_fails else Neighbour()
    guilty: Any = culprit(hook, error)
    task = tiny_regression(samples=8)
    settings = Settings(directory="run")
    callbacks: list[Callback[Run]] = [first, guilty, last]
    more: dict[str, Any] = {}
    if mode == "fit":
        callbacks += [Checkpoint(every="1 step"), Provokes(hook)]
        more = {"validation": task.validation, "epochs": 1, "resume": "auto"}
        if hook == "on_checkpoint_load":
            task.trainer(callbacks=[Checkpoint()], settings=settings).fit(task.train, epochs=1)
    trainer = task.trainer(callbacks=callbacks, settings=settings)
    caught: BaseException | None = None
    try:
        getattr(trainer, mode)(task.train, **more)
    except BaseException as raised:
        caught = raised
    if not guilty.fired:
        assert caught is None or closing_fails, f"{caught!r} before {hook}"
        return False
    assert (first.attached, first.closed) == (1, 1)
    assert last.attached == last.closed
    if hook == "on_exception":  # it was told of the first error, and has its own noted
        assert isinstance(caught, ProvokedError)
        return True
    # An interrupt in a hook is the end that somebody asked for: some modes return it as outcome.
    if caught is not None or not isinstance(error, KeyboardInterrupt):
        assert caught is error, f"came out: {caught!r}"
        notes = getattr(caught, "__notes__", [])
        assert any(hook in note for note in notes), notes
        if last.closed and closing_fails:
            assert any("closing failed" in note for note in notes), notes
    assert torch.is_grad_enabled()
    return True


@pytest.mark.parametrize("closing_fails", [False, True], ids=["", "and again while closing"])
@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("hook", [*(h for h in HOOKS if h != "on_close"), *CONTEXTS])
def test_everybody_is_closed_and_the_first_error_comes_out(
    hook: str, kind: str, closing_fails: bool, figure: Figure
) -> None:
    figure("R6", f"closed after {kind} in a hook{', and again while closing' * closing_fails}")
    fired = [
        attempt(mode, hook, ERRORS[kind]("first"), closing_fails=closing_fails) for mode in MODES
    ]
    assert any(fired), f"no run fires {hook}"
