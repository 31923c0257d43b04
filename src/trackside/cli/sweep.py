"""`trackside sweep`: train what a file describes with many values, and find the best."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trackside.cli.running import AsJson, Files, Traceback, launch, reported_errors, split
from trackside.errors import UsageError, printable
from trackside.progress import counted

if TYPE_CHECKING:
    from trackside.search.store import Trial
    from trackside.search.sweep import Sweep

SHOWN = 10
"""Trials in the table at the end."""


def sweep(
    arguments: Files,
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, over all calls.")] = 20,
    monitor: Annotated[
        str, typer.Option(help="The metric that trials are compared by, at its best.")
    ] = "val/loss",
    mode: Annotated[
        str | None,
        typer.Option(help="min or max; else the name of the metric says it.", show_default=False),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Trials at a time, each in a process.")] = 1,
    ranks: Annotated[
        int, typer.Option(min=1, help="Processes on this machine that train each trial together.")
    ] = 1,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="End a trial that is worse than the median of others."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the values that are tried.")] = 0,
    folder: Annotated[
        Path | None,
        typer.Option(help="Of the sweep; else runs/sweep-FILE.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    r"""Train what FILE describes with many values, and find the best of them.

    A value such as log(1e-4, 1e-1), range(0, 0.5), int(1, 8), int(16, 256, log) or
    choice(a, b), in a file or an override, is varied by Optuna. Trials are in a
    database in the folder of the sweep, each run in a folder below. After a kill,
    the same command goes on: with each trial from its checkpoint, to exactly as
    many as were asked for.

    \b
    Examples:
      trackside sweep run.yaml 'optimizer.lr=log(1e-4, 1e-1)'
      trackside sweep run.yaml space.yaml --trials 50 --processes 2
      trackside sweep run.yaml 'model.width=choice(16, 32)' --monitor val/accuracy
      trackside sweep run.yaml 'model.dropout=range(0, 0.5)' --prune
      trackside sweep run.yaml space.yaml --ranks 2
      torchrun --nproc-per-node 2 -m trackside sweep run.yaml space.yaml
    """
    with reported_errors(as_json, traceback):
        from trackside.machine.paths import local_path
        from trackside.search.sweep import plan

        files, overrides = split(arguments)
        place = Path("runs", f"sweep-{Path(files[0]).stem}") if folder is None else folder
        asked = plan(
            files,
            overrides,
            local_path(place, "--folder"),
            trials,
            monitor=monitor,
            mode=mode,
            seed=seed,
            prune=prune,
        )
        _check_processes(ranks, processes)
        text = None if ranks > 1 else _carry_out(asked, processes, as_json)
    if ranks > 1:
        launch(_again(asked, as_json, traceback), ranks, 0)
    if text is not None:
        print(text)


def _check_processes(ranks: int, processes: int) -> None:
    from trackside.distributed.setup import RankInfo

    launched = RankInfo.from_environment().size
    if launched > 1 and ranks > 1:
        raise UsageError(
            f"a launcher has started this sweep on {launched} ranks already",
            expected="--ranks, or a launcher such as torchrun",
            received=f"--ranks {ranks}",
            remedy="leave out --ranks",
        )
    if processes > 1 and max(ranks, launched) > 1:
        raise UsageError(
            "several ranks train each trial together, one trial at a time",
            expected="--processes, or several ranks",
            received=f"--processes {processes} on {max(ranks, launched)} ranks",
            remedy="leave out --processes; begun a second time in the same folder, a sweep takes "
            "its share of the trials",
        )


def _again(asked: Sweep, as_json: bool, traceback: bool) -> list[str]:
    """The command line for each of several ranks."""
    options = ["--trials", asked.trials, "--monitor", asked.monitor, "--mode", asked.mode]
    options += ["--seed", asked.seed, "--folder", asked.folder]
    flags = {"--prune": asked.prune, "--json": as_json, "--traceback": traceback}
    given = [name for name, is_given in flags.items() if is_given]
    return ["sweep", *asked.files, *asked.overrides, *map(str, options), *given]


def _carry_out(asked: Sweep, processes: int, as_json: bool) -> str | None:
    """Train all trials; the text for the end, or None on ranks other than 0."""
    from trackside.distributed.setup import RankInfo
    from trackside.search.processes import work_in_processes
    from trackside.search.report import write
    from trackside.search.working import work

    say = _print_aside if as_json else _print
    for line in asked.without_effect if RankInfo.from_environment().rank == 0 else ():
        say(line)
    if processes > 1:
        work_in_processes(asked, processes, say)
    else:
        work(asked, say)
    if RankInfo.from_environment().rank > 0:
        return None
    found = asked.store().trials()
    page = write(asked, found)
    return _as_json(asked, found, page) if as_json else _summary(asked, found, page)


def _print(text: str) -> None:
    print(text, flush=True)


def _print_aside(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _summary(asked: Sweep, found: Sequence[Trial], page: Path | None) -> str:
    from trackside.search.sweep import ranked, short

    best = ranked(found, asked.mode)[:SHOWN]
    keys = [one.key for one in asked.space]
    rows = [["trial", asked.monitor, *keys]]
    for trial in best:
        values = [short(trial.parameters[key]) for key in keys]
        rows.append([str(trial.number), f"{trial.value:.4g}", *values])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    counts = [f"{sum(one.state == state for one in found)} {state}" for state in STATES]
    lines = ["", *lines, f"{counted(len(found), 'trial')}: {', '.join(counts)}"]
    lines.append(f"report: {page}" if page else "no report: no trial has a run to show")
    return printable("\n".join(lines))


STATES = ("complete", "pruned", "failed")


def _as_json(asked: Sweep, found: Sequence[Trial], page: Path | None) -> str:
    from trackside.search.sweep import ranked

    trials = [
        {
            "number": one.number,
            "state": one.state,
            "value": one.value,
            "parameters": one.parameters,
            "why": one.why,
            "directory": str(asked.place(one.number)),
        }
        for one in found
    ]
    best = [one.number for one in ranked(found, asked.mode)[:1]]
    return json.dumps(
        {
            "monitor": asked.monitor,
            "mode": asked.mode,
            "best": best[0] if best else None,
            "trials": trials,
            "report": None if page is None else str(page),
        }
    )
