"""What ties a rank to the others: process groups, store, connections."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.distributed_c10d import Store

    from trackside.distributed.lifeline import Lifeline

# Each process's open files by number; Linux has the first, macOS only the second.
_OPEN_FILES = ("/proc/self/fd", "/dev/fd")


@dataclass
class Connections:
    """The gloo connections of this process, so that they can be cut when a rank has failed.

    Torch can abort an NCCL operation that is under way, but not one of gloo: `abort()` and
    `destroy_process_group()` leave its waiting thread where it is (seen with torch 2.13). Closing
    the connection under it ends the wait at once, on both sides, as a peer's death would.
    """

    _sockets: list[tuple[int, int]] = field(default_factory=list)  # (file number, inode)
    cut: bool = False
    """Whether they have been cut: every collective over them fails from then on."""

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Count the sockets that are opened inside as connections to other ranks."""
        before = set(_sockets())
        yield
        self._sockets += [found for found in _sockets() if found not in before]

    def sever(self) -> None:
        """Cut them all: whoever waits for data over them gets an error instead."""
        self.cut = True
        for number, inode in self._sockets:
            with contextlib.suppress(OSError):  # closed in the meantime: nothing left to cut
                if os.fstat(number).st_ino != inode:
                    continue  # the number belongs to another file by now
                with socket.socket(fileno=os.dup(number)) as connection:
                    # A listener must stay open: gloo aborts the process when accept() fails.
                    if not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        connection.shutdown(socket.SHUT_RDWR)


def _sockets() -> Iterator[tuple[int, int]]:
    folder = next((name for name in _OPEN_FILES if os.path.isdir(name)), None)
    for name in os.listdir(folder) if folder else ():
        with contextlib.suppress(OSError):  # the listing's own file is closed again
            found = os.fstat(int(name))
            if stat.S_ISSOCK(found.st_mode):
                yield int(name), found.st_ino


@dataclass(frozen=True)
class Links:
    """Groups, store and connections of a joined world of several ranks."""

    side: ProcessGroup
    """Gloo on the CPU, beside the main group: control messages that never touch a device."""
    lifeline: Lifeline
    """Tells when the next rank has died."""
    store: Store
    """The rendezvous store under a prefix of this world's own."""
    connections: Connections
    """Those of the groups for work, not of the lifeline."""
    owned: bool
    """Whether Trackside made the main process group (and so takes it down)."""
