"""Connections are cut while a thread of each rank is in the middle of collectives over them.

In the end, rank 0 leaves a collective that no other rank joins: its process has to end, too.
"""

from __future__ import annotations

import os
import random
import select
import threading
from contextlib import suppress

import torch
import torch.distributed as dist
from claims import claim

from trackside.distributed.links import Connections

TRIALS = 60


class Collectives(threading.Thread):
    """Gathers over a group until that fails."""

    def __init__(self, group: dist.ProcessGroup, connections: Connections, several: int) -> None:
        super().__init__()
        self._group, self._connections, self._several = group, connections, several
        self.under_way = threading.Event()
        """Set after `several` of them."""
        self.error = ""

    def run(self) -> None:
        done = 0
        try:
            while True:
                parts = [torch.zeros(50) for _ in range(dist.get_world_size())]
                own = torch.ones(50)
                work = dist.all_gather(parts, own, group=self._group, async_op=True)
                assert work is not None
                self._connections.wait_for(work, self._group, own, *parts)
                done += 1
                if done == self._several:
                    self.under_way.set()
        except RuntimeError as error:
            self.error = str(error)
            self.under_way.set()


def main() -> None:
    dist.init_process_group("gloo")
    dice = random.Random(5)  # the same on every rank
    errors = []
    for trial in range(TRIALS):
        connections = Connections()
        with connections.recorded():
            group = dist.new_group(backend="gloo")
            dist.barrier(group=group)
        collectives = Collectives(group, connections, several=dice.randrange(3, 30))
        collectives.start()
        if dist.get_rank() != trial % 2:
            collectives.under_way.wait()
            dist.barrier()
            connections.sever()
        else:  # in the middle of one, or before the next
            collectives.under_way.wait()
            connections.sever()
            dist.barrier()
        collectives.join()
        errors.append(collectives.error)
        connections.abandon([group])  # as a run does: a thread of gloo may still hold its tensors
        dist.barrier()
    claim("ended", sum(bool(error) for error in errors))
    leave_one_behind()


def leave_one_behind() -> None:
    """Rank 0 ends within a collective; rank 1 stays until then, with all connections open."""
    connections, group = Connections(), dist.new_group(backend="gloo")
    pid = torch.tensor([os.getpid()])
    dist.broadcast(pid, src=0)
    if dist.get_rank() == 0:
        tensor = torch.ones(1)
        connections.under_way.add(tensor)
        group.allreduce([tensor])
        connections.abandon(dist.distributed_c10d._world.pg_map)
        return
    wait_for_the_end_of(int(pid))


def wait_for_the_end_of(pid: int) -> None:
    """Return once there is no process of that number, or one that has ended."""
    with suppress(ProcessLookupError):
        select.select([os.pidfd_open(pid)], [], [])


if __name__ == "__main__":
    main()
