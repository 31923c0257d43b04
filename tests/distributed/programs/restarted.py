"""Fails in its first life, on rank 1, and finds a world of two again in its second."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from trackside.distributed.setup import RankInfo, join, leave

world = join()
attempt = RankInfo.from_environment().attempt
assert world.all_reduce(1, "sum") == 2
(Path(sys.argv[1]) / f"start-{attempt}-{world.rank}").touch()
world.barrier()
if attempt == 0 and world.rank == 1:
    os._exit(5)
world.barrier()
leave()
