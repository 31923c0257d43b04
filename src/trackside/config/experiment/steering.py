"""Steering a running job from outside: commands are files in the run's folder, no port is opened.

`trackside ask RUN ...` leaves a file under `asked/`; the run takes it at its next safe point, does
what it says on every rank, and moves it to `asked/answered/` with what came of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, final

from trackside.config.checking.blueprint import Blueprint
from trackside.config.checking.kinds import CALLBACKS
from trackside.config.experiment.changes import change_optimizers, with_option, written_value
from trackside.config.experiment.inbox import Command, Inbox, Reply, checked
from trackside.errors import TracksideError, UsageError, did_you_mean
from trackside.lifecycle.hooks import Callback
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.secret import as_written

logger = logging.getLogger("trackside")

LOOK_EVERY_SECONDS = 1.0


@final
class Steering(Callback[Run]):
    """Does what `trackside ask` asks for.

    Stop, save and evaluate are requests like any callback's: agreed by all ranks, with the reason
    in the outcome. Profiles and changed options take effect at once in one process, and at the end
    of the epoch in several, where all ranks meet.

    Args:
        callbacks: How the run's callbacks were made, by name: to change an option, a callback is
            made again and goes on from the state of the old one.
        clock: Seconds, for tests.
    """

    runs_in = ("fit",)
    effect = "steers"
    on_error = "warn"

    def __init__(
        self,
        callbacks: Mapping[str, Blueprint | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._blueprints = dict(callbacks or {})
        self._clock = clock
        self._next_look = 0.0
        self._later: list[tuple[str, Command]] = []
        self._inbox: Inbox | None = None

    def on_fit_start(self, run: Run) -> None:
        """Refuse what was asked of an earlier run in this folder: it may not fit this one."""
        if run.world.rank == 0:
            self._inbox = Inbox(run.directory)
        self._refuse_the_rest(run, "it was asked before this run began")

    def on_close(self, run: Run, outcome: Outcome) -> None:
        """Refuse what came too late."""
        self._refuse_the_rest(run, "the run has ended")

    def on_step_end(self, run: Run) -> None:
        """Look for commands now and then; on rank 0, which informs the others."""
        now = self._clock()
        if now < self._next_look or run.world.rank != 0:
            return
        self._next_look = now + LOOK_EVERY_SECONDS
        self._look(run)
        if run.world.size == 1:
            self._do_later(run)

    def on_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        """Do, on every rank, what all of them have to do at once."""
        if run.world.rank == 0:
            self._look(run, epoch_is_over=True)
        if run.world.size > 1:
            waiting = [(name, asdict(command)) for name, command in self._later]
            self._later = [
                (name, Command(**command)) for name, command in run.world.broadcast(waiting)
            ]
        self._do_later(run)

    def _look(self, run: Run, *, epoch_is_over: bool = False) -> None:
        for name, command in self._waiting():
            if command.kind in ("set", "profile"):
                self._later.append((name, command))
            elif command.kind == "end_epoch" and epoch_is_over:
                self._answer(run, name, command, "the epoch has ended already")
            else:
                self._answer(run, name, command, self._request(run, command))

    def _waiting(self) -> list[tuple[str, Command]]:
        return [] if self._inbox is None else list(self._inbox.waiting())

    def _refuse_the_rest(self, run: Run, why: str) -> None:
        if run.world.rank == 0:
            for name, command in self._waiting():
                self._answer(run, name, command, why)

    def _request(self, run: Run, command: Command) -> str | None:
        """Turn a command into a request; why it can't be, if it can't."""
        if command.kind == "?":
            return command.value
        try:
            checked(command)
        except UsageError as error:
            return str(error)
        reason = command.value or "asked from outside"
        if command.kind == "stop":
            run.stop(reason)
        elif command.kind == "end_epoch":
            run.end_epoch(reason)
        elif command.kind == "save":
            if run.saver is None:
                return "nothing saves checkpoints in this run"
            run.save(reason)
        elif command.kind == "evaluate":
            if command.value not in run.data:
                return f"there is no data named {command.value!r}; there is {', '.join(run.data)}"
            run.evaluate(command.value, "asked from outside")
        return None

    def _do_later(self, run: Run) -> None:
        commands, self._later = self._later, []
        for name, command in commands:
            try:
                checked(command)
                if command.kind == "profile":
                    _profile(run, int(command.value))
                else:
                    self._set(run, command.value)
                refused = None
            except (TracksideError, KeyError, TypeError, ValueError) as error:
                refused = str(error)
            if run.world.rank == 0:
                self._answer(run, name, command, refused)

    def _set(self, run: Run, text: str) -> None:
        path, _, written = text.partition("=")
        owner, _, option = path.rpartition(".")
        value = written_value(written)
        if owner in run.callbacks:
            self._change(run, owner, option, value)
        elif owner == "optimizer" or owner in run.optimizers:
            change_optimizers(run, owner, option, value)
        else:
            raise UsageError(
                f"there is no callback or optimizer named {owner!r}",
                remedy=did_you_mean(owner, [n for n, _ in run.callbacks.items()]),
            )
        if isinstance(value, (int, float)):
            run.log(f"set/{path}", float(value), weight=1.0)

    def _change(self, run: Run, name: str, option: str, value: Any) -> None:
        """Put a callback with another option, and the same state, in the place of the old one."""
        old: Callback[Any] = run.callbacks[name]
        saver: object = run.saver
        if old is self or saver is old:
            raise UsageError(f"{name!r} can't be changed while the run goes on")
        new, changed = with_option(old, name, self._blueprints.get(name), option, value)
        state = old.state_dict()
        run.callbacks[name] = new
        self._blueprints[name] = changed
        if state:
            new.load_state_dict(state)
        new.on_fit_start(run)  # as when a run is resumed

    def _answer(self, run: Run, name: str, command: Command, refused: str | None) -> None:
        words = refused or "done" if command.kind in ("set", "profile") else refused or "requested"
        answer = Reply(command, refused is None, words, run.progress.steps_completed)
        logger.info("asked for %s %s: %s", command.kind, as_written(command.value), words)
        if self._inbox is not None:
            self._inbox.answer(name, answer)


def _profile(run: Run, steps: int) -> None:
    profiler: Callback[Any] = CALLBACKS.resolve("profiler")(skip=0, warmup=1, active=steps)
    name = f"profile_at_{run.progress.steps_completed}"
    run.callbacks.append(profiler, name)
    profiler.on_fit_start(run)
