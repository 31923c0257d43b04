"""The parts of a run whose loop is written by hand, in the place of `trainer/assembly.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from trackside.by_hand.steps import HandSteps
from trackside.data.source import DataSource
from trackside.distributed import RankInfo, World
from trackside.distributed.agreement import Alone
from trackside.errors import UsageError
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.hooks import Callback
from trackside.loop.state import TRAIN, Options, Position, Setup, Training
from trackside.planning import checks
from trackside.remote.bringing import Bringer
from trackside.run import Run
from trackside.schedule import Every, Schedule
from trackside.step.metrics import MetricLog
from trackside.step.precision import Precision


def by_name(given: Any, kind: type[Any], single: str, option: str) -> dict[str, Any]:
    """One part, or several by name, as a mapping.

    Args:
        given: A `kind`, or a mapping from names to such.
        kind: The class of each.
        single: The name of one that comes without.
        option: The parameter by which it was given.

    Raises:
        UsageError: Something else was given, or nothing.
    """
    named = given if isinstance(given, Mapping) else {single: given}
    if not named or not all(isinstance(one, kind) for one in named.values()):
        received = ", ".join(type(one).__name__ for one in named.values()) or "nothing"
        raise UsageError(
            f"`{option}` can't be used",
            expected=f"a {kind.__name__}, or several by name",
            received=received,
            option=option,
        )
    return dict(named)


def refuse_several_ranks() -> None:
    """Refuse a process that is one of several. Raises `UsageError`."""
    if RankInfo.from_environment().size > 1:
        raise UsageError(
            "a loop by hand can't be attached to in one of several processes",
            expected="one process",
            remedy="train with `trackside.Trainer`, which agrees with the other ranks",
        )


def start(
    run: Run, models: Mapping[str, nn.Module], callbacks: Iterable[Any] | Mapping[str, Any]
) -> Dispatcher:
    """Give the run the parts that `on_attach` sees; return the dispatcher of its callbacks.

    Raises:
        UsageError: A callback uploads the run, for which a trainer has to claim the remote folder.
    """
    first = next((p for model in models.values() for p in model.parameters()), None)
    run.world = World()
    run.device = torch.device("cpu") if first is None else first.device
    given = callbacks.items() if isinstance(callbacks, Mapping) else ((None, c) for c in callbacks)
    run.callbacks = CallbackCollection(run_class=type(run))
    run.callbacks.extend(given)
    for one in run.callbacks:
        if isinstance(one, Bringer):
            raise UsageError(
                f"`{type(one).__name__}` can't upload a run whose loop isn't Trackside's",
                remedy="`trackside upload RUN --to ADDRESS` does it, once the run is over",
            )
    return Dispatcher(run, partial(torch.set_grad_enabled, False))


def assemble(
    run: Run,
    events: Dispatcher,
    models: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    loader: Any,
    steps: HandSteps,
    log_every: Schedule | str,
) -> Training:
    """The training of a run, in the order in which callbacks hear of its parts."""
    events.fire(Callback.on_launch_start)
    events.fire(Callback.on_configure_start)
    run.models = models
    run.data = sources = {TRAIN: DataSource(TRAIN, loader, 1, training=True)}
    checks.know_length(run)
    events.fire(Callback.on_configure_end)
    run.steps = steps
    run.precision = Precision("fp32", run.device)
    events.fire(Callback.on_setup_start)
    run.optimizers = optimizers
    events.fire(Callback.on_optimizers_ready)
    run.schedulings = {}
    run.metric_log = log = MetricLog(
        None, reserved={"train/loss": "the losses that the loop reports"}, progress=run.progress
    )
    position = Position()
    setup = Setup(
        run=run,
        events=events,
        steps=steps,
        precision=run.precision,
        sources=sources,
        metrics={},
        functions={},
        options=Options(log_every=Every.parse(log_every, option="log_every")),
        log=log,
        record_loss=log.mean("train/loss").keep,
        agreement=Alone(position.clock),
        optimizers=tuple(optimizers.values()),
        schedulings=(),
        training_step=steps.training_step,
    )
    return Training(setup, position)


def directory_of(given: str | Path | None) -> Path:
    """The run's folder: the one given, or a new name under `runs/`."""
    return checks.directory(given)
