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
current_callback: str | None = None
case = sys.argv[1]

with FailureWatch(world) as watch, CollectivesCheck(world, lambda: current_callback, 5.0):
    try:
        for name in ("first", "second", None):
            current_callback = name
            world.all_reduce(torch.ones(3))
            dist.barrier()
        current_callback = None
        if world.is_global_zero:
            dist.send(torch.ones(1), dst=1)  # the loop's own: not compared
        else:
            dist.recv(torch.ones(1), src=0)
        claim("the same collectives pass", True)
        current_callback = "checkpoint" if world.is_global_zero else "table"
        if case == "other":
            if world.is_global_zero:
                world.barrier()
            else:
                dist.all_reduce(torch.ones(2, 3))
        elif case == "shape":
            current_callback = "checkpoint"
            dist.all_reduce(torch.ones(2 + world.rank))
        elif case == "nobody" and world.is_global_zero:
            world.barrier()
        elif case == "nobody":
            current_callback = None
            dist.all_reduce(torch.ones(1))  # the loop goes on to its gradients
    except BaseException as error:
        told = watch.report(error)
        claim("error", [type(told).__name__, str(told)])
claim("put back", dist.barrier.__module__)
leave(failed=True)
