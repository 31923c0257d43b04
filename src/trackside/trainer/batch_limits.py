"""Limits of batches from outside of a program: a variable of the environment, or a context."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from trackside.errors import ConfigurationError
from trackside.progress import whole_number
from trackside.run import Run

logger = logging.getLogger("trackside")

VARIABLE = "TRACKSIDE_LIMIT_BATCHES"
_within: ContextVar[int | None] = ContextVar("limited_batches", default=None)


@contextmanager
def limited_batches(count: int) -> Iterator[None]:
    """Inside, every epoch and every evaluation of any trainer ends after `count` batches.

    To try a program out without a change in it; `TRACKSIDE_LIMIT_BATCHES=3` in the environment does
    the same for a whole program. As with `BatchLimit`, predictions have no limit.

    Args:
        count: Batches at most, over all ranks together; 1 or more.

    Raises:
        ConfigurationError: Not such a number.

    Example:
        >>> with limited_batches(3):
        ...     trainer.fit(train, validation, epochs=1)
    """
    token = _within.set(whole_number(count, "count", at_least=1))
    try:
        yield
    finally:
        _within.reset(token)


def apply(run: Run) -> None:
    """Limit the data of `run` where a context or the environment says so, and tell of it."""
    count, source = _within.get(), "`limited_batches`"
    if count is None:
        count, source = _of_environment(), VARIABLE
    if count is None or run.mode == "predict":
        return
    for data in run.data.values():
        data.limit(count)
    if run.world.is_global_zero:
        logger.warning("epochs and evaluations end after %d batches, by %s", count, source)


def _of_environment() -> int | None:
    text = os.environ.get(VARIABLE, "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ConfigurationError(
            f"{VARIABLE}={text!r} in the environment limits nothing",
            expected="a number of batches, 1 or more",
            remedy=f"unset {VARIABLE}, or set it to such a number",
        )
    return int(text)
