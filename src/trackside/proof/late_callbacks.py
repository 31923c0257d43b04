"""`trackside.observe`: callbacks that join a run after its end, over its records and checkpoints.

The trainer is set up as it was, without training: records come in their order, and at each
checkpoint the models have its weights. Hooks for which a run keeps nothing are named.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from trackside.checkpoint import load_model, open_checkpoint
from trackside.errors import UsageError
from trackside.history import Record
from trackside.lifecycle.adoption import adopt
from trackside.lifecycle.collection import name_for
from trackside.lifecycle.hooks import CONTEXTS, HOOKS, Callback, is_overridden
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.loop.evaluate import evaluate
from trackside.loop.spans import FitSpan
from trackside.loop.state import Training
from trackside.machine.paths import folder_path
from trackside.outcome import Outcome, Status
from trackside.proof.made_again import MadeAgain, checkpoints_of, made_again
from trackside.proof.recorded import recorded
from trackside.proof.retrace import quietly
from trackside.proof.taking_part import only_those_with_a_say
from trackside.run_folder.identity import identity
from trackside.schedule import STEP_UNITS, Due
from trackside.trainer.program import Program

ALWAYS = (
    "on_attach",
    "on_launch_start",
    "on_configure_start",
    "on_configure_end",
    "on_setup_start",
    "on_optimizers_ready",
    "on_setup_end",
    "on_fit_start",
    "on_fit_end",
    "on_close",
)
"""Hooks that come in any case."""
EVALUATIONS = tuple(name for name in HOOKS if name.startswith("on_evaluation"))
"""Hooks that come at checkpoints, where the data is evaluated again."""
HEARD = frozenset({*ALWAYS, *EVALUATIONS, "on_log", "evaluation_context"})
NEVER = frozenset({"on_roll_back", "on_exception"})
"""Hooks for what doesn't happen to a run that is over: nobody misses them."""


@dataclass(slots=True)
class Observed:
    """Report of what late callbacks have heard."""

    folder: Path
    """Where they may have written."""
    records: int = 0
    """Records that they were given."""
    checkpoints: list[int] = field(default_factory=list)
    """Steps of the checkpoints whose weights they have seen."""
    without_data: dict[str, list[str]] = field(default_factory=dict)
    """By callback: hooks of it that were not called, since a run keeps nothing for them."""
    missed: dict[str, list[int]] = field(default_factory=dict)
    """By callback: steps at which it was due, and no checkpoint was left."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "folder": str(self.folder)}


def observe(
    run: str | os.PathLike[str],
    callbacks: Sequence[Any],
    *,
    into: str | os.PathLike[str] | None = None,
    overrides: Iterable[str] = (),
    program: Program | None = None,
) -> Observed:
    """Let callbacks hear a run that is over, as far as records and checkpoints of it are left.

    Loggers and trackers get every record. Pictures, exports and other callbacks with a schedule are
    due where they would have been, if a checkpoint of that step is left. A callback that listens to
    evaluations hears one of each data set at each checkpoint, with the same records. The run's
    folder isn't changed, unless `into` names it.

    Args:
        run: The run's folder.
        callbacks: Those that join.
        into: The folder in which they write; None: `observed` in the run's folder.
        overrides: `key=value`, for what the run was given later: `trainer.epochs=40`.
        program: The trainer and its data, for a run that can't be made again by its folder.

    Raises:
        UsageError: The run can't be made again, or has no records.
        ConfigurationError: `into` can't be a folder: a file stands there.

    Example:
        >>> trackside.observe("runs/digits", [TensorBoard()]).records  # doctest: +SKIP
        240
    """
    asked = None if into is None else folder_path(into, "into")
    made = made_again(run, overrides, program)
    folder = asked or made.folder / "observed"
    joining = dict(_named(callbacks, made))
    records = recorded(made.folder)
    if not records:
        raise UsageError(
            f"{made.folder} keeps no records to observe",
            expected="a run with `history.jsonl`, or with checkpoints",
        )
    done = Observed(folder, without_data=_without_data(joining))
    walk = _Walk(made, records, joining, done)
    with quietly():
        trainer = made.trainer
        only_those_with_a_say(trainer.callbacks, folder)
        for name, one in joining.items():
            trainer.callbacks.append(one, name)
        trainer.settings = replace(trainer.settings, directory=folder)
        trainer.train_loop = walk.over
        trainer.fit(**{**made.arguments, "resume": None, "rehearse": False})
    return done


def _named(callbacks: Sequence[Any], made: MadeAgain) -> Iterable[tuple[str, Callback[Any]]]:
    taken = set(dict(made.trainer.callbacks.items()))
    for given in callbacks:
        one = adopt(given)
        name = name_for(one)
        while name in taken:
            name += "_late"
        taken.add(name)
        yield name, one


def _without_data(joining: Mapping[str, Callback[Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, one in joining.items():
        scheduled = {"on_step_end", "on_epoch_end"} if isinstance(one, PeriodicCallback) else set()
        known = HEARD | NEVER | scheduled
        lacking = [h for h in (*HOOKS, *CONTEXTS) if h not in known and is_overridden(one, h)]
        if lacking:
            found[name] = lacking
    return found


class _Walk:
    """Goes over the records and checkpoints of a run, in the place of training."""

    def __init__(
        self,
        made: MadeAgain,
        records: Sequence[Record],
        joining: Mapping[str, Callback[Any]],
        done: Observed,
    ) -> None:
        self.made, self.records, self.joining, self.done = made, records, joining, done
        self.now_due: list[str] = []
        self.checkpoints = {
            open_checkpoint(path).manifest.step: path for path in reversed(checkpoints_of(made))
        }
        self.dues = {
            name: (Due(one.every, STEP_UNITS), Due(one.every, ("epochs",)))
            for name, one in joining.items()
            if isinstance(one, PeriodicCallback)
        }
        self.evaluates = any(
            is_overridden(one, hook) for one in joining.values() for hook in EVALUATIONS
        )

    def over(self, training: Training) -> Outcome:
        """Take the place of `loop.fit`."""
        run, position = training.run, training.position
        known = identity(self.made.folder)
        run.id = run.id if known is None else known.run_id
        position.clock_origin = position.timer()
        training.begin_schedules()
        steps = sorted({one.step for one in self.records} | self.checkpoints.keys())
        with FitSpan(training):
            for due in self.dues.values():
                due[0].start(run.progress, run.limit)
                due[1].start(run.progress, run.limit)
            for step in steps:
                self._come_to(training, step)
        return Outcome(Status.COMPLETED, "observed", step=run.progress.steps_completed)

    def _come_to(self, training: Training, step: int) -> None:
        path = self.checkpoints.get(step)
        self._advance(training, step, seen=path is not None)
        evaluated: list[str] = []
        if path is not None:
            self.done.checkpoints.append(step)
            self._restore(training, path)
            evaluated = self._evaluate(training)
        for record in (one for one in self.records if one.step == step):
            self._give(training, record, evaluated)
        if path is not None:
            self._call_those_due(training)

    def _advance(self, training: Training, step: int, *, seen: bool) -> None:
        """Count the steps up to `step`; note what was due on the way, where nothing is left."""
        progress, epoch_steps = training.run.progress, training.run.limit.epoch_steps
        while progress.steps_completed < step:
            progress.steps_completed += 1
            if epoch_steps and progress.steps_completed % epoch_steps == 0:
                progress.epochs_completed = progress.steps_completed // epoch_steps
                progress.epochs_closed = progress.epochs_completed
            self.now_due = [
                name
                for name, (steps, epochs) in self.dues.items()
                if steps.crossed(progress) | epochs.crossed(progress)  # both are to count
            ]
            if progress.steps_completed < step or not seen:
                for name in self.now_due:
                    self.done.missed.setdefault(name, []).append(progress.steps_completed)

    def _restore(self, training: Training, path: Path) -> None:
        state = open_checkpoint(path).state()
        for name, model in training.run.models.items():
            load_model(state["models"][name], model)
        training.run.progress.load_state_dict(state["progress"])

    def _evaluate(self, training: Training) -> list[str]:
        names = list(training.setup.options.evaluations) if self.evaluates else []
        for name in names:
            evaluate(training, name)
        return names

    def _give(self, training: Training, record: Record, evaluated: Sequence[str]) -> None:
        """One record, without what an evaluation has just recorded again."""
        values = {n: v for n, v in record.values.items() if n.partition("/")[0] not in evaluated}
        if not values:
            return
        given = replace(record, values=values)
        training.run.history.append(given)
        training.run.progress.seconds = record.seconds
        training.fire(Callback.on_log, given)
        self.done.records += 1

    def _call_those_due(self, training: Training) -> None:
        for name in self.now_due:
            one = training.run.callbacks[name]
            if isinstance(one, PeriodicCallback):
                with torch.no_grad():
                    one.on_due(training.run)
