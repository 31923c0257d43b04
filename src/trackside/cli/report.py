"""`trackside report`: runs as one HTML page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trackside.cli.running import AsJson, reported_errors
from trackside.errors import UsageError, printable

if TYPE_CHECKING:
    from trackside.callbacks.reporting.report_page.reading import ReportedRun

PAGE = "report.html"


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Folders of runs, or folders that hold some.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The page; else report.html in the run's folder, or here."
        ),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Heading of the page.")] = None,
    with_changes: Annotated[
        bool,
        typer.Option(
            "--diff", help="Include changes that were not committed; they may hold secrets."
        ),
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Serve the page on this machine while the run goes on.")
    ] = False,
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65535, help="Port for --live; 0 takes a free one."),
    ] = 0,
    browse: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    as_json: AsJson = False,
) -> None:
    r"""Write what happened in runs as one HTML page: outcome, curves, time, checkpoints, pictures.

    The page is one file, works from the disk and asks nothing of a network. Of several runs, it
    lays curves over each other and shows only what differs in their configurations.

    \b
    Examples:
      trackside report runs/mine --open
      trackside report runs/a runs/b -o comparison.html
      trackside report runs/mine --live
      trackside report runs --json
    """
    with reported_errors(as_json, False):
        if live and (as_json or output is not None):
            raise UsageError(
                "--live serves the page: it writes no file and prints no JSON",
                remedy="leave out --live, or --json and --output",
            )
        if port and not live:
            raise UsageError(f"--port {port} has no effect without --live")
        if as_json and output is None and (title or with_changes or browse):
            raise UsageError(
                "--json alone writes no page: --title, --diff and --open have no effect",
                remedy="name the page as well: --output report.html",
            )
        from trackside.callbacks.reporting.report_page.described import summary
        from trackside.callbacks.reporting.report_page.page import render
        from trackside.config.experiment.configurations import configurations
        from trackside.machine.paths import file_path, local_path
        from trackside.run_folder.inside import replace_inside

        asked = None if output is None else file_path(output, "--output", ".html")
        found = configurations([local_path(folder, "RUN") for folder in folders])
        read = _reader(found, with_changes)
        runs = read(())
        page = None
        if live:
            _serve(read, port, title, browse)
        elif not as_json or output is not None:
            page = (asked or _place(list(found))).resolve()
            replace_inside(page.parent, page.name, render(runs, title=title))
            if browse:
                typer.launch(page.as_uri())
    if as_json:
        content = {"page": None if page is None else str(page), "runs": [summary(r) for r in runs]}
        print(json.dumps(content))
    elif page is not None:
        for run in runs:
            for problem in run.problems:
                print(printable(f"{run.name}: {problem}"))
        print(printable(f"{_counted(runs)}: {page}"))


def _reader(
    found: dict[Path, dict[str, Any]], with_changes: bool
) -> Callable[[Sequence[ReportedRun]], list[ReportedRun]]:
    from trackside.callbacks.reporting.report_page.reading import read_run

    names = _names(list(found))

    def read(before: Sequence[ReportedRun]) -> list[ReportedRun]:
        """The runs; of those that were read before, only what has come since."""
        known = {one.folder: one for one in before}
        return [
            read_run(
                folder,
                name=name,
                configuration=configuration,
                with_changes=with_changes,
                before=known.get(folder),
            )
            for name, (folder, configuration) in zip(names, found.items(), strict=True)
        ]

    return read


def _names(folders: Sequence[Path]) -> list[str]:
    """Each folder's own name; with so much of its path that no two are equal."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return [printable(name) for name in names]


def _place(folders: Sequence[Path]) -> Path:
    return (folders[0] if len(folders) == 1 else Path.cwd()) / PAGE


def _counted(runs: Sequence[ReportedRun]) -> str:
    return "report of 1 run" if len(runs) == 1 else f"report of {len(runs)} runs"


def _serve(
    read: Callable[[Sequence[ReportedRun]], list[ReportedRun]],
    port: int,
    title: str | None,
    browse: bool,
) -> None:
    from trackside.callbacks.reporting.report_page.serving import ReportServer

    with ReportServer(read, port, title) as server:
        print(f"{server.address}  (Ctrl-C ends it)", flush=True)
        if browse:
            typer.launch(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("no longer served")
