"""`trackside plan`: what a run will do, and what is wrong with it, before it starts."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import typer

from trackside.cli.running import AsJson, Files, Traceback, reported_errors, split
from trackside.errors import printable
from trackside.outcome import WRONG_USAGE
from trackside.progress import counted
from trackside.schedule import is_plain

if TYPE_CHECKING:
    from trackside.config.experiment.plan import Plan
    from trackside.planning.diagnostics import Planned


def plan(arguments: Files, as_json: AsJson = False, traceback: Traceback = False) -> None:
    r"""Print what a run of FILE will do, without training: sizes, what is due when, in which order.

    Model, data and optimizer are made, because their sizes decide; nothing is
    written. Errors among the findings would make the run fail: the exit code is
    then 2.

    \b
    Examples:
      trackside plan run.yaml
      trackside plan run.yaml trainer.steps=100000 --json
    """
    with reported_errors(as_json, traceback), redirect_stdout(sys.stderr):
        files, overrides = split(arguments)
        from trackside.config import load
        from trackside.config.experiment.plan import make_plan

        made = make_plan(load(files, overrides))
    if as_json:
        print(json.dumps(made.as_dict(), indent=2))
    else:
        from trackside.cli import layout

        print(layout.folded(printable(page(made)), layout.width(), hang=4))
    raise typer.Exit(0 if made.sound else WRONG_USAGE)


def page(plan: Plan) -> str:
    """The plan as text."""
    memory = plan.memory
    states = memory.parameter_bytes + memory.gradient_bytes + (memory.optimizer_bytes or 0)
    lines = [
        f"run      {_limit(plan)}, on {plan.device}, files in {plan.directory}",
        f"model    {memory.parameters:,} parameters, {memory.trainable:,} trained; "
        f"{_bytes(states)} of states ({_bytes(memory.parameter_bytes)} model, "
        f"{_bytes(memory.gradient_bytes)} gradients, {_bytes(memory.optimizer_bytes)} optimizer)",
    ]
    for name, one in plan.data.items():
        size = f"{_count(one.samples, 'sample')}, {_count(one.batches, 'batch')}"
        lines.append(f"data     {name}: {size}; {one.use}")
    if plan.disk is not None:
        kept = "all" if plan.disk.kept is None else f"{plan.disk.kept}"
        lines.append(
            f"disk     {_bytes(plan.disk.checkpoint_bytes)} a checkpoint, {kept} kept; "
            f"{_bytes(plan.disk.free_bytes)} free"
        )
    for part in plan.held:
        size = "nobody knows how much" if part.size_bytes is None else _bytes(part.size_bytes)
        lines.append(f"memory   {part.content}: {size} of {part.place}; limit: {part.limit}")
    lines += ["", "when"]
    for due in plan.schedules:
        times = _times(due.times)
        if due.min_seconds:
            times = f"at most {times}, {due.min_seconds:g} s or more apart"
        if due.time_percent is not None:
            share = f"{due.time_percent:g} % of the time"
            times = f"{times}, as far as they fit into {share}: the clock says which"
        lines.append(f"  {due.owner} {due.option}: {due.schedule}: {times}{_at_steps(due)}")
    lines += ["", "chosen once"]
    lines += [f"  {name}: {way}" for name, way in plan.ways.items()]
    lines += ["", "hooks, in order"]
    lines += [f"  {hook}: {', '.join(names)}" for hook, names in plan.hooks.items()]
    lines += ["", "effects on training"]
    for effect in ("changes", "steers", "observes", "unsaid"):
        names = [name for name, said in plan.effects.items() if said == effect]
        lines += [f"  {effect}: {', '.join(names)}"] if names else []
    lines += ["", "findings" if plan.findings else "nothing found to complain about"]
    for finding in plan.findings:
        place = f"{finding.place}: " if finding.place else ""
        lines.append(f"  {place}{finding.severity}: {finding.about}: {finding.message}")
        lines.append(f"      {finding.remedy}")
    return "\n".join(lines)


def _limit(plan: Plan) -> str:
    if plan.steps is None:
        return f"{plan.epochs} epochs of unknown length"
    epoch = f" (an epoch has {plan.epoch_steps:,})" if plan.epoch_steps is not None else ""
    return f"{plan.steps:,} steps{epoch}"


def _times(number: int | None) -> str:
    if number is None:
        return "as the clock or the data says"
    return {0: "never", 1: "once"}.get(number, f"{number:,} times")


def _at_steps(due: Planned) -> str:
    """At which step it is due first; all of the first steps where the schedule doesn't say."""
    if due.first_step is None:
        return ""
    if is_plain(due.schedule) and due.schedule.units <= {"steps", "epochs"}:
        return f", first at step {due.first_step:,}"
    more = ", ..." if due.times is None or due.times > len(due.steps) else ""
    return f", at step {', '.join(f'{step:,}' for step in due.steps)}{more}"


def _count(number: int | None, noun: str) -> str:
    if number is None:
        return f"an unknown number of {counted(0, noun).removeprefix('0 ')}"
    return counted(number, noun)


def _bytes(size: float | None) -> str:
    if size is None:
        return "unknown"
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
