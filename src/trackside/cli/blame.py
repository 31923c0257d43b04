"""`trackside blame`: which samples made a step what it is."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from trackside.cli.replay import confirm
from trackside.cli.running import AsJson, Folder, Overrides, Traceback, reported_errors
from trackside.errors import printable

if TYPE_CHECKING:
    from trackside.proof.blame import Blame
    from trackside.proof.made_again import MadeAgain

SHOWN = 10
"""Samples that are shown; `--json` has all."""


def blame(
    run: Folder,
    step: Annotated[int, typer.Option(help="The step, from 1.", show_default=False)],
    overrides: Overrides = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A callback of the run that takes no part.", show_default=False
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Begin at the start without asking.")] = False,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    r"""Rank the samples of a step of RUN by how far they stand out, and train without the first.

    For a spike in the loss, or a NaN. The step is made again twice, from the checkpoint before it,
    and nothing is written: with all samples, and without the one that stands out most.

    \b
    Examples:
      trackside blame runs/mine --step 1200
      trackside blame runs/mine --step 1200 --json
    """
    with reported_errors(as_json, traceback):
        from trackside.proof.blame import blame_along
        from trackside.proof.made_again import made_again, way_to

        def again() -> MadeAgain:
            return made_again(run, overrides or [])

        made = again()
        way = way_to(made, step)
        if not yes:
            confirm(way, can_ask=not as_json and sys.stdin.isatty())
        found = blame_along(made, way, again, without=without or [])
    print(json.dumps(found.as_dict()) if as_json else printable(_text(found)))


def _text(found: Blame) -> str:
    each = "in the step" if found.weighed == "in the step" else "each by itself"
    lines = [
        f"step {found.way.step}: {len(found.samples)} samples, weighed {each}",
        f"  {'':>14} {'loss':>10} {'gradient':>10} {'distance':>10} {'score':>8}",
    ]
    lines += [
        f"  {one.name:>14} {one.loss:>10.4g} {one.gradient_norm:>10.4g} "
        f"{one.input_distance:>10.3g} {one.score:>8.3g}"
        for one in found.samples[:SHOWN]
    ]
    lines += [f"without {found.first.name}:", f"  {'step':>8} {'loss':>12} {'without it':>12}"]
    lines += [
        f"  {step:>8} {loss:>12.6g} {found.losses_without.get(step, float('nan')):>12.6g}"
        for step, loss in found.losses.items()
    ]
    return "\n".join(lines)
