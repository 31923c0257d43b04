"""`trackside upload` and `trackside download`: a run to remote storage, or from there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from trackside.cli.running import AsJson, Folder, Traceback, reported_errors
from trackside.progress import counted


def upload(
    run: Folder,
    to: Annotated[
        str | None,
        typer.Option(help="Address; by default where it was uploaded to.", show_default=False),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long to try at most.")] = 3600.0,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    r"""Upload what a run has saved, and its remote folder doesn't have yet.

    For a run that ended before all was uploaded. Credentials come from the environment, or from
    fsspec's own configuration.

    \b
    Examples:
      trackside upload runs/s3/bucket/run
      trackside upload runs/mine --to s3://bucket/mine
    """
    with reported_errors(as_json, traceback):
        from rich.console import Console

        from trackside.machine.paths import local_path
        from trackside.remote.copies import upload as send

        folder = local_path(run, "run")
        with Console(stderr=True).status("uploading") as status:
            address = send(
                folder,
                to,
                seconds,
                lambda files, size: status.update(f"{files} files, {size / 1e6:,.1f} MB left"),
            )
    print(
        json.dumps({"run": str(folder), "address": str(address)})
        if as_json
        else f"{folder} is in {address}"
    )


def download(
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Remote folder.", show_default=False)
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="New folder here.", show_default=False)
    ],
    checkpoint: Annotated[
        str, typer.Option(help="all, auto (the newest), or those of a step.")
    ] = "all",
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    r"""Copy a run from remote storage into a new folder; every file is verified.

    \b
    Examples:
      trackside download s3://bucket/run runs/copy
      trackside download s3://bucket/run runs/copy --checkpoint auto
    """
    with reported_errors(as_json, traceback):
        from trackside.machine.paths import local_path
        from trackside.remote.address import Address
        from trackside.remote.copies import download as bring

        place = local_path(folder, "folder")
        count = bring(Address(address, "address"), place, checkpoint)
    print(
        json.dumps({"folder": str(place), "checkpoints": count})
        if as_json
        else f"{place}: {counted(count, 'checkpoint')}"
    )
