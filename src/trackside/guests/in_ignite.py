"""Guests in ignite: handlers of an engine that have callbacks of Trackside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from trackside.by_hand import assembling
from trackside.guests.evaluation import numbers
from trackside.guests.guest import OF_TRAINING, Guest
from trackside.progress import RunLimit
from trackside.schedule import Schedule

_NEVER = ("on_backward_", "on_zero_grad_")
FIRED = frozenset(name for name in OF_TRAINING if not name.startswith(_NEVER))


def ignite(
    engine: Any,
    *callbacks: Any,
    model: nn.Module,
    optimizers: Optimizer | Mapping[str, Optimizer],
    evaluators: Mapping[str, Any] | None = None,
    loss: Callable[[Any], Any] | None = None,
    directory: str | Path | None = None,
    log_every: Schedule | str = "50 steps",
) -> Guest:
    """Let callbacks of Trackside be guests of an engine of ignite: a step is an iteration.

    Args:
        engine: The engine that trains.
        callbacks: Callbacks of Trackside.
        model: The model that it trains.
        optimizers: Its optimizer, or several by name; updates are heard from them.
        evaluators: Engines that evaluate, by the name of their data. They run in a handler of
            `EPOCH_COMPLETED` or `ITERATION_COMPLETED`.
        loss: From the output of an iteration to its loss; None takes a number or a tensor.
        directory: The run's folder; None makes a new one under `runs/`.
        log_every: How often values are recorded.

    Returns:
        The guest. With `with`, everything is closed as the block ends.

    Raises:
        ImportError: ignite is not installed.
        UsageError: A callback saves the run.

    Example:
        >>> guests.ignite(engine, EarlyStopping("val/loss"), model=model, optimizers=optimizer,
        ...               evaluators={"val": evaluator})
    """
    guest = Guest("ignite", callbacks, fired=FIRED, directory=directory, log_every=log_every)
    by_name = assembling.by_name(optimizers, Optimizer, "optimizer", "optimizers")
    events = import_module("ignite.engine").Events
    handlers = _Handlers(guest, model, by_name, loss or _number)
    for event, handler in {
        events.STARTED: handlers.started,
        events.EPOCH_STARTED: handlers.epoch_started,
        events.ITERATION_STARTED: handlers.iteration_started,
        events.ITERATION_COMPLETED: handlers.iteration_completed,
        events.COMPLETED: handlers.completed,
        events.EXCEPTION_RAISED: handlers.failed,
    }.items():
        engine.add_event_handler(event, handler)
    for name, evaluator in (evaluators or {}).items():
        parts = _Evaluating(guest, name, engine)
        evaluator.add_event_handler(events.STARTED, parts.started)
        evaluator.add_event_handler(events.ITERATION_STARTED, parts.iteration_started)
        evaluator.add_event_handler(events.ITERATION_COMPLETED, parts.iteration_completed)
        evaluator.add_event_handler(events.COMPLETED, parts.completed)
        evaluator.add_event_handler(events.EXCEPTION_RAISED, parts.failed)
    return guest


class _Handlers:
    """Handlers of the engine that trains."""

    def __init__(
        self,
        guest: Guest,
        model: nn.Module,
        optimizers: Mapping[str, Optimizer],
        loss: Callable[[Any], Any],
    ) -> None:
        self._guest, self._model, self._optimizers, self._loss = guest, model, optimizers, loss
        self._removals: list[Any] = []

    def started(self, engine: Any) -> None:
        """Training begins."""
        guest, state = self._guest, engine.state
        guest.attach(self._model)
        limit = RunLimit(state.max_epochs, getattr(state, "max_iters", None))
        done = (state.iteration, state.epoch)
        guest.begin(self._optimizers, state.epoch_length, limit, done=done)
        for optimizer in self._optimizers.values():
            self._removals += [
                optimizer.register_step_pre_hook(self._before),
                optimizer.register_step_post_hook(self._after),
            ]
        self._stop(engine)

    def _before(self, optimizer: Optimizer, args: object, options: object) -> None:
        if self._guest.engine is not None and self._guest.engine.in_a_step:
            self._guest.engine.before_update(optimizer)

    def _after(self, optimizer: Optimizer, args: object, options: object) -> None:
        if self._guest.engine is not None and self._guest.engine.in_a_step:
            self._guest.engine.after_update(optimizer)

    def epoch_started(self, engine: Any) -> None:
        """An epoch begins; evaluations of the last one are over."""
        self._guest.epoch_start()
        self._stop(engine)

    def iteration_started(self, engine: Any) -> None:
        """A batch is there."""
        length = engine.state.epoch_length or 1
        self._guest.batch_start(engine.state.batch, (engine.state.iteration - 1) % length)

    def iteration_completed(self, engine: Any) -> None:
        """A step is over."""
        self._guest.step_end(self._loss(engine.state.output))
        self._stop(engine)

    def completed(self, engine: Any) -> None:
        """Training is over."""
        self._remove()
        if self._guest.engine is not None and not self._guest.stopping:
            self._guest.epoch_end()
        self._guest.finish()

    def failed(self, engine: Any, error: BaseException) -> None:
        """An error ends it, and goes on its way."""
        self._remove()
        self._guest.fail(error)
        raise error

    def _remove(self) -> None:
        for removal in self._removals:
            removal.remove()
        self._removals.clear()

    def _stop(self, engine: Any) -> None:
        if self._guest.stopping:
            engine.terminate()


class _Evaluating:
    """Handlers of an engine that evaluates."""

    def __init__(self, guest: Guest, name: str, engine: Any) -> None:
        self._guest, self._name, self._engine = guest, name, engine

    def started(self, evaluator: Any) -> None:
        """It begins; outside of training nobody hears of it."""
        if self._guest.engine is not None:
            self._guest.evaluation_start(self._name)

    def iteration_started(self, evaluator: Any) -> None:
        """A batch is there."""
        if self._guest.evaluation is not None:
            self._guest.evaluation.batch_start(evaluator.state.batch)

    def iteration_completed(self, evaluator: Any) -> None:
        """A batch is evaluated."""
        if self._guest.evaluation is not None:
            state = evaluator.state
            self._guest.evaluation.batch_end(state.batch, state.output)

    def completed(self, evaluator: Any) -> None:
        """It is over."""
        self._guest.evaluation_end(numbers(evaluator.state.metrics))
        if self._guest.stopping:
            self._engine.terminate()

    def failed(self, evaluator: Any, error: BaseException) -> None:
        """An error ends it, and goes on its way."""
        raise error


def _number(output: Any) -> Any:
    """The loss in the output of an iteration, where that is a number."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, (int, float)):
        return Tensor([output]).squeeze()
    return output
