"""Recorder: every event of a run, in order, with a summary of what came with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trackside.history import Record
from trackside.lifecycle.hooks import HOOKS, Callback
from trackside.outcome import Outcome
from trackside.run import Evaluation, Run
from trackside.testing.grammar import check_grammar, closes, opens

_PARTS_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Event:
    """One hook that was called."""

    name: str
    """Name of the hook, such as `on_step_end`."""
    step: int
    """Steps completed when it was called."""
    arguments: tuple[str, ...] = ()
    """A summary of each argument after `run`."""

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.arguments)})"


class Recorder(Callback[Any]):
    """Listens to every hook there is and keeps what came.

    Args:
        also: Custom events to listen to as well, such as `MyEvents.on_sample_drawn`.

    Example:
        >>> recorder = Recorder()
        >>> trainer = Trainer(model, ..., callbacks=[recorder])
        >>> trainer.fit(train, epochs=1)
        >>> recorder.names[:3]
        ['on_attach', 'on_launch_start', 'on_configure_start']
    """

    effect = "observes"

    def __init__(self, also: Iterable[Callable[..., Any]] = ()) -> None:
        self.events: list[Event] = []
        """All events of all runs, oldest first."""
        for declared in also:
            setattr(self, declared.__name__, _listener(declared.__name__).__get__(self))

    @property
    def names(self) -> list[str]:
        """Names of the hooks that were called, oldest first."""
        return [event.name for event in self.events]

    def of(self, hook: Callable[..., Any] | str) -> list[Event]:
        """The events of one hook."""
        name = hook if isinstance(hook, str) else hook.__name__
        return [event for event in self.events if event.name == name]

    def clear(self) -> None:
        """Forget all events so far."""
        self.events.clear()

    def check(self, outcome: Outcome | None = None) -> None:
        """Hold the events of one run against the grammar. Raises `GrammarError`."""
        check_grammar(self.events, outcome)

    def tree(self) -> str:
        """The events as an indented text, one per line."""
        lines: list[str] = []
        depth = 0
        for event in self.events:
            hook = HOOKS.get(event.name)
            if hook is not None and closes(hook):
                depth = max(depth - 1, 0)
            lines.append("  " * depth + str(event))
            depth += hook is not None and opens(hook)
        return "\n".join(lines)


def _listener(name: str) -> Callable[..., None]:
    def listen(self: Recorder, run: Run, *arguments: Any, **named: Any) -> None:
        said = [summary(value) for value in arguments]
        said += [f"{key}={summary(value)}" for key, value in named.items()]
        self.events.append(Event(name, run.progress.steps_completed, tuple(said)))

    listen.__name__ = name
    listen.__qualname__ = f"Recorder.{name}"
    listen.__doc__ = "Keep the event."
    return listen


# Every hook of the table, one that is added tomorrow too.
for _name in HOOKS:
    setattr(Recorder, _name, _listener(_name))


def summary(value: object) -> str:
    """Describe `value` in a few words: shapes of tensors, numbers of records, names of objects."""
    if isinstance(value, (str, bool, int, type(None))):
        return repr(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Evaluation):
        return f"{value.name} {summary(value.metrics)}" if value.metrics else value.name
    if isinstance(value, Record):
        return summary(value.values)
    if isinstance(value, Outcome):
        return str(value)
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}" if str(value) else type(value).__name__
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{dtype} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {summary(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        shown = [summary(part) for part in value[:_PARTS_SHOWN]]
        shown += ["..."] if len(value) > _PARTS_SHOWN else []
        return f"{type(value).__name__}({', '.join(shown)})"
    return type(value).__name__
