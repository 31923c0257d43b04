"""The command itself: its subcommands, and what its exit codes mean.

Nothing heavy is imported here or at the top of a command's file: help is there at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from inspect import getdoc
from typing import Any, TextIO

import typer

from trackside.cli.ask import ask
from trackside.cli.blame import blame
from trackside.cli.callbacks import callbacks
from trackside.cli.copies import download, upload
from trackside.cli.evaluate import evaluate
from trackside.cli.gc import gc
from trackside.cli.init import init
from trackside.cli.inspect import inspect
from trackside.cli.observe import observe
from trackside.cli.plan import plan
from trackside.cli.predict import predict
from trackside.cli.refusal import tell
from trackside.cli.replay import replay
from trackside.cli.report import report
from trackside.cli.resume import resume
from trackside.cli.runs import runs
from trackside.cli.schema import schema
from trackside.cli.sweep import sweep
from trackside.cli.train import train
from trackside.cli.verify import verify
from trackside.cli.why import why
from trackside.errors import UsageError
from trackside.outcome import exit_code_of
from trackside.tracking.streams import LastingStream

EXIT_CODES = """\b
Exit codes:
  0    completed, or stopped by a callback
  1    failed
  2    wrong usage or configuration
  3    diverged: a loss that isn't finite, or fp16 in which no update was made
  129  interrupted (SIGHUP)
  130  interrupted (Ctrl-C)
  143  interrupted (SIGTERM)"""

_WRONG_USAGE: Any = typer.BadParameter.__bases__[0]
"""Refusal of a command line that doesn't fit: an error of click, which Typer may bring along."""

app = typer.Typer(
    name="trackside",
    help="Train PyTorch models described in a file.\n\n"
    "`trackside init FOLDER` makes a project to begin with.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS = (
    train,
    resume,
    evaluate,
    predict,
    plan,
    sweep,
    runs,
    report,
    why,
    replay,
    blame,
    ask,
    inspect,
    verify,
    observe,
    gc,
    upload,
    download,
    callbacks,
    schema,
    init,
)
for _command in _COMMANDS:
    _text = getdoc(_command) or ""
    app.command(
        # `\b` keeps the lines of the paragraph that follows; a raw docstring has it as two letters.
        help=_text.replace(r"\b", "\b"),
        short_help=" ".join(_text.partition("\n\n")[0].split()),  # else it is cut in its middle
        epilog=EXIT_CODES if _command in (train, resume) else None,
    )(_command)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and leave."),
) -> None:
    if version:
        from trackside import __version__

        print(__version__)
        raise typer.Exit


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line; the exit code."""
    as_json = "--json" in arguments
    try:
        code = app(list(arguments), standalone_mode=not as_json)
    except SystemExit as leaving:
        return exit_code_of(leaving)
    except _WRONG_USAGE as error:
        return tell(UsageError(error.format_message()), as_json=as_json, with_traceback=False)
    return code if isinstance(code, int) else 0


def main() -> None:
    """The entry point."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:  # as under `pythonw`
            setattr(sys, name, _lasting(stream))
    code = run(sys.argv[1:])
    sys.stdout.flush()
    sys.exit(code)


def _lasting(stream: TextIO) -> LastingStream:
    return LastingStream(lambda: stream)
