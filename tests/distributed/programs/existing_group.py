"""A program that made its own process group before it used Trackside."""

from __future__ import annotations

import torch
import torch.distributed as dist
from claims import claim

from trackside.distributed.setup import join, leave

dist.init_process_group("gloo")
world = join()
claim("sum", world.all_reduce(float(world.rank), "sum"))
leave()
claim("group after leaving", dist.is_initialized())
dist.all_reduce(torch.ones(1))
dist.barrier()
dist.destroy_process_group()
