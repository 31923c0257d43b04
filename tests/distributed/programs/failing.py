"""One rank fails in a given way while the other is in a given place; each reports how it ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import torch
import torch.distributed as dist
from claims import claim

from trackside.distributed.failure import PeerFailed
from trackside.distributed.setup import join, leave
from trackside.distributed.watch import FailureWatch

way, place = sys.argv[1:3]
world = join()
# As the loop does: the first SIGTERM (torch elastic sends it to the ranks that are left) asks for a
# stop at the next step, and does not end the process.
signal.signal(signal.SIGTERM, lambda number, frame: None)


def fail() -> None:
    claim("failing at", time.time())
    if way in {"raise", "raise and linger"}:
        raise ValueError("the picture is broken")
    if way == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "exit":
        os._exit(0)


def be_busy() -> None:
    if place == "all_reduce":
        world.all_reduce(torch.ones(3))
    elif place == "backward":
        model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
        world.barrier()
        model(torch.ones(1, 2)).sum().backward()
    elif place == "sleep":
        time.sleep(100)
    elif place == "python":
        while True:
            sum(range(1000))
    elif place == "stuck":  # in C, on a connection that can't be cut
        dist.recv(torch.zeros(1), src=1, group=foreign)
    elif place == "closing":
        return
    elif place == "steps":
        while True:
            watch.check()


foreign = dist.new_group(backend="gloo") if place == "stuck" else None
with FailureWatch(world, lambda: 7) as watch:
    world.barrier()
    try:
        if world.rank == 1:
            if place == "backward":
                torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
                world.barrier()
            fail()
        be_busy()
    except BaseException as error:
        told = watch.report(error)
        claim("raised", type(told).__name__)
        claim("here", type(error).__name__)
        if isinstance(told, PeerFailed):
            claim("first", [told.failure.rank, told.failure.kind, told.failure.step])
        raise told from None
    finally:
        watch.closing()
        claim("closed", True)
        if way == "raise and linger" and world.rank == 1:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            threading.Event().wait()  # its connections stay open: only the watch can end rank 0
        if place == "closing" and world.rank == 0:
            try:
                world.barrier()  # a callback's collective while closing
            except RuntimeError as error:
                claim("collective while closing", type(error).__name__)
leave()
