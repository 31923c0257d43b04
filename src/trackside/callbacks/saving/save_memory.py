"""The host memory that saves take, its limit, and the wait for a save, shown."""

from __future__ import annotations

import logging
import math
from time import monotonic
from typing import Protocol

from rich.console import Console

from trackside.checkpoint.delegation import WriterChoice, shared_from_bytes
from trackside.checkpoint.host_buffers import SLAB_BYTES, WITH_PINNED_MEMORY
from trackside.errors import ConfigurationError
from trackside.run import Run
from trackside.step.memory import Held

logger = logging.getLogger("trackside")
QUIET_SECONDS = 1.0
"""Waits that are not shown."""
LOOK_SECONDS = 0.25
SAID_SECONDS = 10.0
"""How often a wait is said in the log."""


class _Saves(Protocol):
    background: bool
    writer: WriterChoice
    memory_gigabytes: float | None


class _Waits(Protocol):
    def wait(self, seconds: float) -> bool:
        """Wait so long; whether nothing is left to wait for."""


def check_memory(memory_gigabytes: float | None, *, background: bool) -> None:
    """Refuse a limit of memory that is none, or has no effect.

    Raises:
        ConfigurationError: It is.
    """
    if memory_gigabytes is None:
        return
    if not memory_gigabytes > 0:
        raise ConfigurationError(
            f"memory_gigabytes={memory_gigabytes!r} leaves no memory",
            expected="a number above 0; background=False writes without a copy",
            option="memory_gigabytes",
        )
    if not background:
        raise ConfigurationError(
            "`memory_gigabytes` has no effect: without background nothing is copied",
            remedy="leave it out",
            option="memory_gigabytes",
        )


def limit_bytes(memory_gigabytes: float | None) -> float:
    """The limit in bytes."""
    return math.inf if memory_gigabytes is None else memory_gigabytes * 1e9


def held_by_saves(saves: _Saves, run: Run, state_bytes: int) -> list[Held]:
    """The copy from which a checkpoint is written; none where training waits for the writing."""
    if not saves.background or state_bytes > limit_bytes(saves.memory_gigabytes):
        return []
    content = "the copy of the state that a save is written from"
    limit = "Checkpoint(memory_gigabytes=...)"
    if run.device.type in WITH_PINNED_MEMORY:
        whole = -(-state_bytes // SLAB_BYTES) * SLAB_BYTES
        return [Held(content, "pinned host memory", whole, limit)]
    shared = state_bytes >= shared_from_bytes(saves.writer)
    return [Held(content, "shared memory" if shared else "host memory", state_bytes, limit)]


def wait_shown(saves: _Waits, content: str, *, shows: bool) -> None:
    """Wait for what is being written; a wait of more than a second is shown and said.

    Args:
        saves: Writes in the background.
        content: What is written, in words.
        shows: Whether to show it: one rank does.
    """
    if saves.wait(QUIET_SECONDS):
        return
    began = said = monotonic()
    with Console(stderr=True, quiet=not shows).status(f"writing {content}"):
        while not saves.wait(LOOK_SECONDS):
            if shows and monotonic() - said >= SAID_SECONDS:
                said = monotonic()
                logger.info("%s is still being written, after %.0f s", content, said - began)
