"""A connection that only breaks: how a rank learns that another one has died."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import timedelta
from typing import Literal

import torch
import torch.distributed as dist

from trackside.distributed.links import Connections

_BYE_SECONDS = 2.0


class Lifeline:
    """Listens to the next rank, which says nothing until it leaves.

    When a process ends, however it ends, the system closes its connections. So a message on the
    lifeline means that the next rank left in order, and an error that it died, known within
    milliseconds and on any machine. Each rank watches one other, which makes a ring of all.

    Args:
        group: A gloo group of all ranks with a timeout longer than any run, for this use only.
        connections: The connections of that group.
        rank: This rank.
        size: Number of ranks.
    """

    def __init__(
        self, group: dist.ProcessGroup, connections: Connections, rank: int, size: int
    ) -> None:
        self._group = group
        self._connections = connections
        self._before = (rank - 1) % size
        self.next_rank = (rank + 1) % size
        """The rank that is listened to."""
        self.end: Literal["died", "left"] | None = None
        """How the next rank ended: without a word, or in order; None while it lives."""
        self._listener = threading.Thread(
            target=self._listen, name="trackside-lifeline", daemon=True
        )
        self._listener.start()

    def _listen(self) -> None:
        try:
            dist.recv(torch.zeros(1), src=self.next_rank, group=self._group)
            self.end = "left"
        except RuntimeError:
            self.end = None if self._connections.cut else "died"

    def close(self, *, together: bool) -> None:
        """Say that this rank leaves in order, and stop listening.

        Args:
            together: Whether the others leave now, too: then their word is waited for.
        """
        word = torch.ones(1)
        with suppress(RuntimeError):  # the one who listens here is gone
            # Not `send`: when the other side closes at this very moment, gloo may miss that, and
            # would wait without end (seen with torch 2.13).
            sending = dist.isend(word, dst=self._before, group=self._group)
            if sending is not None:
                sending.wait(timedelta(seconds=_BYE_SECONDS))
        if together:
            self._listener.join(_BYE_SECONDS)
        self._connections.sever()
        # A thread that is inside torch when the interpreter ends would abort the process.
        self._listener.join(_BYE_SECONDS)
