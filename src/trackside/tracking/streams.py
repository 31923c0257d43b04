"""Output that never ends a run: a reader that goes away, a closed terminal, a narrow encoding."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any, TextIO


class LastingStream:
    """Writes to a stream as long as it has a reader, and drops text afterwards.

    Characters that the stream's encoding lacks are written as escapes. When its reader is gone
    (`| head`, a closed terminal), later text is dropped, for every writer to its file
    descriptor: a later `print`, or Python's own flush at the end, doesn't fail for it either.

    Args:
        current: The stream of the moment: `sys.stdout` may be replaced at any time.
    """

    def __init__(self, current: Callable[[], Any]) -> None:
        self._current = current

    @property
    def _stream(self) -> Any:
        stream = self._current()
        # While a live display is shown, rich stands in front of the stream that it writes to.
        return getattr(stream, "rich_proxied_file", stream)

    def write(self, text: str) -> int:
        """Write `text`, or drop it where nobody reads any more."""
        stream = self._stream
        try:
            try:
                stream.write(text)
            except UnicodeEncodeError:
                encoding = stream.encoding or "ascii"
                stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError) as error:
            _abandon(stream, error)
        return len(text)

    def flush(self) -> None:
        """Flush written text, if the stream has a reader."""
        stream = self._stream
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            _abandon(stream, error)

    def __getattr__(self, name: str) -> Any:
        # What rich and others ask of a stream: `isatty`, `encoding`, `fileno`.
        return getattr(self._stream, name)


def _abandon(stream: TextIO, error: Exception) -> None:
    """Drop everything that is written to the file behind `stream` from now on.

    Raises:
        ValueError: `error`, where it is about something else than a closed stream.
    """
    if isinstance(error, ValueError):
        if not stream.closed:
            raise error
        return
    with contextlib.suppress(OSError, ValueError):  # a stream without a file
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, number)
        finally:
            os.close(nowhere)
