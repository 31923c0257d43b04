"""`trackside verify`: whether a run is what its receipt says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trackside.cli.running import AsJson, Folder, Overrides, Traceback, reported_errors
from trackside.errors import printable
from trackside.outcome import FAILED

if TYPE_CHECKING:
    from trackside.proof.verification import Verification


def verify(
    run: Folder,
    overrides: Overrides = None,
    steps: Annotated[
        int, typer.Option(min=0, help="Most steps that are trained again; 0 trains none.")
    ] = 1000,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The key that the receipt is signed by.", show_default=False
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Draw the same steps each time.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    r"""Check RUN against its receipt, which the callback `Receipt` has left, and change nothing.

    The chain of the receipt; configuration, code, environment, records, checkpoints, weights; some
    samples of the data; and the steps between two checkpoints, drawn at random, which are trained
    again and have to end bitwise the same. The exit code is 1 when something differs.

    \b
    Examples:
      trackside verify runs/mine
      trackside verify runs/mine --steps 200 --seed 1
      trackside verify runs/mine --steps 0 --key ~/receipts.key --json
    """
    with reported_errors(as_json, traceback):
        from trackside.proof.verification import verify as check

        found = check(run, steps=steps, key=key, seed=seed, overrides=overrides or [])
    print(json.dumps(found.as_dict()) if as_json else printable(_page(found)))
    raise typer.Exit(0 if found.ok else FAILED)


def _page(found: Verification) -> str:
    lines = [f"{found.folder}: {'verified' if found.ok else 'NOT what its receipt says'}"]
    lines += [f"  differs      {problem}" for problem in found.problems]
    lines += [f"  checked      {words}" for words in found.checked]
    lines += [f"  not checked  {words}" for words in found.not_checked]
    lines.append(f"  signature    {found.signature}")
    return "\n".join(lines)
