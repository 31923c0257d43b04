"""Whether something that counts has stopped counting."""

from __future__ import annotations


class Standstill:
    """Reports when counts have not changed for too long.

    Args:
        timeout_seconds: Standstill that is reported; the same one is reported again after twice
            as long.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._counts: object = None
        self._since: float | None = None
        self._next = timeout_seconds

    def seconds_to_report(self, now: float, counts: object) -> float | None:
        """Take in the counts at the time `now`, in seconds.

        Returns:
            For how long nothing has changed, where that is to be reported now; else None.
        """
        if self._since is None or counts != self._counts:
            self._counts, self._since, self._next = counts, now, self._timeout_seconds
            return None
        stood = now - self._since
        if stood < self._next:
            return None
        self._next = 2 * stood
        return stood
