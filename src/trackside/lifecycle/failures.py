"""Errors of callbacks that end a run: who still hears the event, and where the run is saved first.

Three kinds of hooks. Where the state of the run is whole, the error waits: the others get the
event, and the loop saves the run at its next safe point, which then raises it. Within a step, an
evaluation or a prediction the others get the event, and the error is raised at its end: half a step
can't be resumed exactly. While a run is set up, and where each callback gets the batch of the one
before, it is raised at once: later callbacks build upon earlier ones.
"""

from __future__ import annotations

from typing import Any

from trackside.errors import (
    ConfigurationError,
    CorruptionError,
    DisagreementError,
    NonFiniteError,
    ObserverError,
    UsageError,
    note_on,
)
from trackside.lifecycle.hooks import Callback
from trackside.requests import Request
from trackside.run import Run

WHOLE = frozenset(
    hook.__name__
    for hook in (
        Callback.on_step_end,
        Callback.on_train_epoch_end,
        Callback.on_evaluation_end,
        Callback.on_epoch_end,
        Callback.on_fit_end,
        Callback.on_measure,
        Callback.on_log,
        Callback.on_stop,
        Callback.on_checkpoint_saved,
    )
)
"""Hooks at which the state of the run is whole: an error waits until the run is saved."""

BEGINNINGS = frozenset(
    hook.__name__ for hook in (Callback.on_epoch_start, Callback.on_train_epoch_start)
)
"""Hooks between two safe points and before a step: whole as well, in one process. Several ranks
would agree on saving only after the step, which must not be taken: there the error is raised at the
end of the event."""

AT_ONCE = frozenset(
    hook.__name__
    for hook in (
        Callback.on_attach,
        Callback.on_launch_start,
        Callback.on_configure_start,
        Callback.on_configure_end,
        Callback.on_setup_start,
        Callback.on_optimizers_ready,
        Callback.on_setup_end,
        Callback.on_fit_start,
        Callback.on_checkpoint_load,
        Callback.on_checkpoint_save,
        Callback.on_batch_start,
        Callback.on_evaluation_batch_start,
        Callback.on_predict_batch_start,
    )
)
"""Hooks at which an error is raised at once. A checkpoint that lacks the part of a callback must
not be written, either."""


def is_forgiven(callback: Callback[Any], run: Run, hook: str, error: BaseException) -> bool:
    """Whether training goes on after `error` in `hook` of `callback`.

    A mistake in its options that shows while the run is set up is refused, as in a constructor.
    """
    if not isinstance(error, Exception) or isinstance(error, ObserverError):
        return False
    if hook in AT_ONCE and isinstance(error, (ConfigurationError, UsageError)):
        return False
    world = getattr(run, "world", None)
    awaited = callback.calls_collectives and world is not None and world.size > 1
    return callback.on_error == "warn" and not awaited


_UNWORTHY = (NonFiniteError, DisagreementError, CorruptionError, ObserverError)


class Failures:
    """The first error of a callback that waits for the run to be saved.

    Args:
        run: Whose loop is asked to save and to raise it.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._places: set[tuple[str, str]] = set()
        self.first: Exception | None = None
        """The error to raise; None while no callback failed."""

    def waits_at(self, hook: str) -> bool:
        """Whether an error at `hook` waits until the run is saved."""
        if hook in WHOLE:
            return True
        world = getattr(self._run, "world", None)
        return hook in BEGINNINGS and (world is None or world.size == 1)

    def keep(self, error: Exception, callback: str, hook: str) -> None:
        """Keep `error`, and ask for the end that saves first; a further one is noted on the first.

        Several ranks may take some steps until they agree on the end: what fails there again at the
        same place is the same failure.
        """
        place, known = (callback, hook), set(self._places)
        self._places.add(place)
        if self.first is None:
            self.first = error
            step = self._run.progress.steps_completed
            reason = f"callback {callback!r} fails in `{hook}`"
            self._run.requests.ask(Request("fail", reason, callback, step=step))
        elif place not in known:
            note_on(self.first, "ending the run", error)

    @property
    def is_worth_saving(self) -> bool:
        """Whether the state is: not where the error says that its numbers are wrong."""
        return not isinstance(self.first, _UNWORTHY)

    def first_of(self, error: BaseException) -> BaseException:
        """The error to raise when `error` comes out of the run: the first that came up.

        A signal that ends the run at once comes before all others.
        """
        if self.first is None or self.first is error or not isinstance(error, Exception):
            return error
        note_on(self.first, "ending the run", error)
        return self.first

    def raise_first(self) -> None:
        """Raise the error that waits, if there is one."""
        if self.first is not None:
            raise self.first
