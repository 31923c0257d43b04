"""Callbacks that call other collectives on one rank than on the other."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from claims import claim

from trackside.distributed.collectives_check import CollectivesCheck
from trackside.distributed.setup import join, leave
from trackside.distributed.watch import FailureWatch

world = join()
speaker: str | None = None
case = sys.argv[1]

with FailureWatch(world) as watch, CollectivesCheck(world, lambda: speaker, 5.0):
    try:
        for name in ("first", "second", None):
            speaker = name
            world.all_reduce(torch.ones(3))
            dist.barrier()
        speaker = None
        if world.is_global_zero:
            dist.send(torch.ones(1), dst=1)  # the loop's own: not compared
        else:
            dist.recv(torch.ones(1), src=0)
        claim("the same collectives pass", True)
        speaker = "checkpoint" if world.is_global_zero else "table"
        if case == "other":
            if world.is_global_zero:
                world.barrier()
            else:
                dist.all_reduce(torch.ones(2, 3))
        elif case == "shape":
            speaker = "checkpoint"
            dist.all_reduce(torch.ones(2 + world.rank))
        elif case == "nobody" and world.is_global_zero:
            world.barrier()
        elif case == "nobody":
            speaker = None
            dist.all_reduce(torch.ones(1))  # the loop goes on to its gradients
    except BaseException as error:
        told = watch.report(error)
        claim("error", [type(told).__name__, str(told)])
claim("put back", dist.barrier.__module__)
leave(failed=True)
