"""The end of a trainer's run: callbacks closed, the result kept, signals raised again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch

from trackside.errors import Interrupted, Terminated
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.lifetime import live
from trackside.lifecycle.signals import StopOnSignals, ending, signal_numbers
from trackside.outcome import Outcome
from trackside.requests import SIGNAL
from trackside.run import Run
from trackside.trainer.settings import Result, Settings

logger = logging.getLogger("trackside")


def run_to_its_end(
    trainer: Callback[Any],
    settings: Settings,
    run: Run,
    events: Dispatcher,
    body: Callable[[], Outcome],
    over: Callable[[Result], None],
    made: Sequence[Any] = (),
) -> Result:
    """Run `body` between attach and close, and return its result.

    A signal that asked for the end is raised once everything is closed, whatever had ended the run
    by then: the caller must end, too.

    Args:
        trainer: Whose run it is; its own hooks come first.
        settings: Of the trainer.
        run: The run.
        events: Calls the callbacks.
        body: The run itself.
        over: Called with the result when everybody is closed, also where an error ended the run;
            signals are the caller's again afterwards.
        made: Gets the predictions of a prediction, batch by batch.

    Raises:
        Interrupted: After SIGINT.
        Terminated: After another signal.
        BaseException: The error that ended the run.
    """
    former = torch.are_deterministic_algorithms_enabled()
    more = signal_numbers(settings.stop_signals)
    with StopOnSignals(run, events, more, settings.stop_grace_seconds) as signals:
        try:
            if settings.deterministic:
                torch.use_deterministic_algorithms(True)
            live(run, run.callbacks, events, trainer, body, signals)
            _tell_of_untaken(run)
        except (Interrupted, Terminated) as impatient:
            impatient.result = _result(run, events, made)
            raise
        finally:
            torch.use_deterministic_algorithms(former)
            for source in getattr(run, "data", {}).values():
                source.workers.end()
            result = _result(run, events, made)
            over(result)
    number = result.outcome.signal if signals.number is None else signals.number
    if number is None:
        return result
    signal_error = ending(number)
    signal_error.result = result
    raise signal_error


def _tell_of_untaken(run: Run) -> None:
    """Warn of requests that nothing took, once for each kind and asker."""
    why = "training was over" if run.mode == "fit" else f"`{run.mode}` takes requests to stop only"
    # A signal asks for a save wherever it comes.
    asked = [r for r in run.requests if r.kind not in ("stop", "fail") and r.asked_by != SIGNAL]
    for kind, who in dict.fromkeys((request.kind, request.who) for request in asked):
        logger.warning("%s asked for `%s`, which was not done: %s", who, kind, why)


def _result(run: Run, events: Dispatcher, made: Sequence[Any]) -> Result:
    assert run.outcome is not None  # set before anybody is closed
    failures = run.callbacks.failures()
    return Result(
        run.outcome,
        run.history,
        run.directory,
        events.seconds_by_callback(),
        failures,
        rollbacks=tuple(run.rollbacks),
        skipped_steps=tuple(run.skipped_steps),
        ended_epochs=tuple(run.ended_epochs),
        halvings=tuple(run.halvings),
        predictions=tuple(made),
    )
