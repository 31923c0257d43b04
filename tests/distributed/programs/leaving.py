"""Work is under way on rank 0 when both ranks come to their end, without a word of leaving."""

from __future__ import annotations

import atexit

import torch
import torch.distributed as dist
from claims import claim

from trackside.distributed.setup import join

world = join()
atexit.register(claim, "left", True)
if world.is_global_zero:
    unanswered = dist.all_reduce(torch.ones(4), async_op=True)
