"""Links of a rank to the others: process groups, store, connections."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from trackside.distributed import abandoned

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup, Work
    from torch.distributed.distributed_c10d import Store

    from trackside.distributed.lifeline import Lifeline

# Each process's open files by number; Linux has the first, macOS only the second.
_OPEN_FILES = ("/proc/self/fd", "/dev/fd")
_LOOK_EVERY = timedelta(seconds=1)
"""How often a wait for other ranks looks whether there still is a connection to them."""


@dataclass
class Connections:
    """The gloo connections of this process, so that they can be cut when a rank has failed.

    Torch can abort an NCCL operation that is under way, but not one of gloo: `abort()` and
    `destroy_process_group()` leave its waiting thread where it is (seen with torch 2.13). Closing
    the connection under it ends the wait at once, on both sides, as a peer's death would.
    """

    _sockets: list[tuple[int, int]] = field(default_factory=list)  # (file number, inode)
    finished: int = 0
    """Collectives over them that are done: it grows as this process gets on."""
    under_way: set[Tensor] = field(default_factory=set)
    """Tensors of collectives over them that are started, and waited for later or never."""
    cut: bool = False
    """Whether they have been cut: every collective over them fails from then on."""

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Count the sockets that are opened inside as connections to other ranks."""
        before = set(_sockets())
        yield
        self._sockets += [found for found in _sockets() if found not in before]

    def wait_for(self, work: Work, group: ProcessGroup, *tensors: Tensor) -> None:
        """Wait until a collective over them is done, but not after they are cut.

        Gloo forgets a sender that writes to a broken connection in the moment before it notices
        that (seen with torch 2.13): such a collective never ends, and its group is kept.

        Args:
            work: The collective.
            group: Of which it is one.
            tensors: Its own. After an error they stay `under_way`: a thread of gloo may still hold
                them, see `abandoned`.

        Raises:
            RuntimeError: It failed, or it isn't done and the connections have been cut.
        """
        self.under_way.update(tensors)
        while not work.is_completed():
            try:
                work.wait(_LOOK_EVERY)
            except RuntimeError:
                if not work.is_completed() and self.cut:
                    abandoned.keep(group)
                    raise RuntimeError("gloo: the connections to the other ranks are cut") from None
        work.wait()  # raises what went wrong
        self.under_way.difference_update(tensors)
        self.finished += 1

    def abandon(self, groups: Iterable[ProcessGroup]) -> None:
        """Leave the collectives over them that nobody waits for as they are; see `abandoned`.

        Args:
            groups: All groups of this process.
        """
        for kept in (*groups, *self.under_way):
            abandoned.keep(kept)

    def sever(self) -> None:
        """Cut them all: a wait for data over them raises an error instead.

        Only the direction towards this process is shut: gloo notices the end of what it reads, and
        closes; a broken direction of writing makes it lose what it was about to send, see above.
        """
        self.cut = True
        for number, inode in self._sockets:
            with contextlib.suppress(OSError):  # closed in the meantime: nothing left to cut
                if os.fstat(number).st_ino != inode:
                    continue  # the number belongs to another file by now
                with socket.socket(fileno=os.dup(number)) as connection:
                    # A listener must stay open: gloo aborts the process when accept() fails.
                    if not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        connection.shutdown(socket.SHUT_RD)


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
