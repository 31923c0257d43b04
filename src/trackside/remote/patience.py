"""Patience with a store that is away: the same call again, later and later; reported once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar, final

from trackside.imports.extras import optional_package
from trackside.remote.address import shown
from trackside.remote.store import LocalChangeError

T = TypeVar("T")
logger = logging.getLogger("trackside")

FIRST_SECONDS, LONGEST_SECONDS = 0.5, 30.0
"""Wait before the second attempt, and the longest between two; it doubles, with some chance."""


class GivenUpError(Exception):
    """The time for attempts is over."""


@final
class Patience:
    """Calls of a store, repeated until they succeed or `give_up` was called.

    Args:
        to: Address of the store, for messages.
        meanwhile: What holds while the store is away, for the message.
        limit_seconds: How long one call is tried; None until `give_up`.
    """

    def __init__(self, to: str, meanwhile: str, limit_seconds: float | None = None) -> None:
        self._tenacity = optional_package("tenacity", needed_by="Upload", extra="remote")
        self._to, self._meanwhile = to, meanwhile
        self._limit_seconds = limit_seconds
        self._over = threading.Event()
        self._wake = threading.Event()
        self.is_away = False
        """Whether the latest attempt failed."""

    def give_up(self) -> None:
        """End all attempts; one that is under way is not broken off."""
        self._over.set()
        self._wake.set()

    def hurry(self) -> None:
        """Try at once what waits for its next attempt."""
        self._wake.set()

    def __call__(
        self, work: Callable[..., T], *arguments: Any, answers: tuple[type[Exception], ...] = ()
    ) -> T:
        """Return the result of `work`.

        Args:
            work: A call of a store.
            arguments: Its arguments.
            answers: Errors that are an answer: they are raised at once.

        Raises:
            GivenUpError: It failed to the last.
        """
        tenacity = self._tenacity
        stop = tenacity.stop_when_event_set(self._over)
        if self._limit_seconds is not None:
            stop |= tenacity.stop_after_delay(self._limit_seconds)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda error: (
                    isinstance(error, Exception)
                    and not isinstance(error, (*answers, LocalChangeError))
                )
            ),
            wait=tenacity.wait_exponential(multiplier=FIRST_SECONDS, max=LONGEST_SECONDS)
            + tenacity.wait_random(0, FIRST_SECONDS),
            stop=stop,
            before_sleep=self._failed,
            sleep=self._sleep,
        )
        if self._over.is_set():
            raise GivenUpError
        try:
            result: T = retrying(work, *arguments)
        except tenacity.RetryError as error:
            last = error.last_attempt.exception()
            raise GivenUpError(f"{type(last).__name__}: {shown(last)}") from last
        if self.is_away:
            self.is_away = False
            logger.info("%s answers again", self._to)
        return result

    def _failed(self, state: Any) -> None:
        if not self.is_away:
            self.is_away = True
            error = state.outcome.exception()
            logger.warning(
                "%s does not answer as it should (%s: %s)\n  %s",
                self._to,
                type(error).__name__,
                shown(error),
                self._meanwhile,
            )

    def _sleep(self, seconds: float) -> None:
        if self._wake.wait(seconds) and not self._over.is_set():
            self._wake.clear()
