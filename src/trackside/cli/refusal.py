"""Errors on the command line: their text and their exit code."""

from __future__ import annotations

import json
import sys
import traceback

from trackside.errors import (
    ConfigurationError,
    NonFiniteError,
    RegistrationError,
    TracksideError,
    UsageError,
    printable,
    text_of,
)
from trackside.outcome import DIVERGED, FAILED, WRONG_USAGE
from trackside.secret import as_written

INTERRUPTED = 130


def tell(error: BaseException, *, as_json: bool, with_traceback: bool) -> int:
    """Print what went wrong; the exit code.

    A mistake in what was asked for is printed without a traceback, which would only hide it.
    """
    usage = isinstance(error, (ConfigurationError, RegistrationError, UsageError))
    if as_json:
        print(json.dumps({"error": text_of(error), "problems": _problems(error)}))
    if with_traceback or not isinstance(error, TracksideError):
        print(printable("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    elif not as_json:
        notes = "\n".join(getattr(error, "__notes__", ()))
        print(printable(f"{text_of(error)}\n{notes}").rstrip(), file=sys.stderr)
    if isinstance(error, NonFiniteError):
        return DIVERGED
    return WRONG_USAGE if usage else FAILED


def _problems(error: BaseException) -> list[dict[str, object]]:
    from trackside.config.text.problem import ExperimentError

    if isinstance(error, ExperimentError):
        problems = [problem.as_dict() for problem in error.problems]
        return [
            {
                key: as_written(value) if isinstance(value, str) else value
                for key, value in one.items()
            }
            for one in problems
        ]
    return []
