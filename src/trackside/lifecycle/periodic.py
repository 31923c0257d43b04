"""Callbacks with a schedule, and callbacks made of plain functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, Protocol

from typing_extensions import TypeVar

from trackside.errors import ScheduleError, UnknownHookError, did_you_mean
from trackside.lifecycle.hooks import ANYWHERE, HOOKS, Callback, Hook, R
from trackside.lifecycle.signatures import check_function
from trackside.progress import Progress, RunLimit
from trackside.run import Rollback, Run
from trackside.schedule import STEP_UNITS, Due, Every, Schedule

P = ParamSpec("P")
T = TypeVar("T")


class _Counts(Protocol):
    limit: RunLimit

    @property
    def progress(self) -> Progress: ...


PR = TypeVar("PR", bound=_Counts, default=Run, contravariant=True)


class PeriodicCallback(Callback[PR]):
    """A callback with a schedule: `on_due(run)` is called whenever it is due.

    It may track in any other hook. A subclass that overrides `on_fit_start`, `on_roll_back`,
    `on_step_end`, `on_epoch_end` or `on_fit_end` calls `super()` there.

    Args:
        every: A schedule, or text such as `"100 steps"` or `"1 epoch"`. None: never.
    """

    settable = ("every",)

    def __init__(self, every: Schedule | str | None) -> None:
        self.every = every

    @property
    def every(self) -> Schedule | None:
        """When it is due; a new value counts from the beginning of the next run."""
        return self._every

    @every.setter
    def every(self, every: Schedule | str | None) -> None:
        self._every = None if every is None else Every.parse(every, option="every")
        self._after_steps = Due(self._every, STEP_UNITS)
        self._after_epochs = Due(self._every, ("epochs",))
        self.unused_hooks = self.idle_hooks()

    def idle_hooks(self) -> frozenset[str]:
        """Hooks that have nothing to do under the schedule; asked again when it changes."""
        looks = (
            {part.is_looked_at for part in self._every.parts} if self._every is not None else set()
        )
        idle = {"on_step_end": looks <= {"epochs"}, "on_epoch_end": "epochs" not in looks}
        return frozenset(
            hook
            for hook, is_idle in idle.items()
            if is_idle and getattr(type(self), hook) is getattr(PeriodicCallback, hook)
        )

    def on_due(self, run: PR) -> None:
        """The schedule is due."""

    on_due.__hook__ = Hook("on_due", ANYWHERE, custom=True)  # type: ignore[attr-defined]

    def on_fit_start(self, run: PR) -> None:
        self._start(run)

    def on_roll_back(self, run: PR, rollback: Rollback) -> None:
        self._start(run)

    def _start(self, run: PR) -> None:
        self._after_steps.start(run.progress, run.limit)
        self._after_epochs.start(_before_next("on_epoch_end", run.progress), run.limit)

    def on_step_end(self, run: PR) -> None:
        if self._after_steps.crossed(run.progress):
            self.on_due(run)

    def on_epoch_end(self, run: PR, metrics: dict[str, float]) -> None:
        if self._after_epochs.crossed(run.progress):
            self.on_due(run)

    def on_fit_end(self, run: PR) -> None:
        progress = run.progress
        if self._after_steps.at_end(progress) and self._after_epochs.at_end(progress):
            self.on_due(run)


def _before_next(hook: str, progress: Progress) -> Progress:
    """Progress before the next firing of `hook`: a resumed epoch may be completed, not ended."""
    if hook != "on_epoch_end":
        return progress
    return replace(progress, epochs_completed=progress.epochs_closed)


def on(
    at: Callable[Concatenate[Any, R, P], T],
    *,
    every: Schedule | str | None = None,
    name: str | None = None,
) -> Callable[[Callable[Concatenate[R, P], T]], Callback[Any]]:
    """Make a callback of a plain function.

    Args:
        at: The hook, such as `Callback.on_step_end`.
        every: Call the function only when this schedule is due at that hook. None: always.
        name: Name of the callback; None takes the function's.

    Example:
        >>> @on(Callback.on_step_end, every="100 steps")
        ... def say_hello(run):
        ...     print("hello at step", run.progress.steps_completed)
    """
    info: Hook | None = getattr(at, "__hook__", None)
    if info is None:
        given = getattr(at, "__name__", repr(at))
        raise UnknownHookError(f"`{given}` is not a hook.", remedy=did_you_mean(given, HOOKS))

    if every is not None and info.name == "on_fit_start":
        raise ScheduleError(
            "`on_fit_start` happens once per run: a schedule has no meaning there",
            remedy="drop `every`, or choose a hook that repeats, such as `Callback.on_step_end`",
            option="every",
        )
    schedule = None if every is None else Every.parse(every, option="every")

    def adapt(function: Callable[Concatenate[R, P], T]) -> Callback[Any]:
        check_function(function, at)
        call: Callable[..., T] = function
        due = None if schedule is None else Due(schedule)

        def answer(self: object, run: Any, *args: Any, **kwargs: Any) -> Any:
            if due is None or due.crossed(run.progress):
                return call(run, *args, **kwargs)
            return None

        def begin(self: object, run: Run, rollback: Rollback | None = None) -> None:
            if due is not None:
                due.start(_before_next(info.name, run.progress), run.limit)

        title = name or getattr(function, "__name__", "function").strip("<>")
        body: dict[str, Any] = {info.name: answer, "__doc__": function.__doc__}
        if due is not None:
            body["on_fit_start"] = body["on_roll_back"] = begin
        kind: type[Callback[Any]] = type(title, (Callback,), body)
        callback = kind()
        callback.name = title
        return callback

    return adapt
