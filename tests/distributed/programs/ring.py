"""Three ranks: rank 1 dies, which rank 0 hears on its lifeline, and rank 2 through the store."""

from __future__ import annotations

import os
import signal

from claims import claim

from trackside.distributed.failure import PeerFailed
from trackside.distributed.setup import join
from trackside.distributed.watch import FailureWatch

signal.signal(signal.SIGTERM, lambda number, frame: None)
world = join()
with FailureWatch(world) as watch:
    world.barrier()
    try:
        if world.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        world.barrier()
    except RuntimeError as error:
        told = watch.report(error)
        assert isinstance(told, PeerFailed)
        claim("first", [told.failure.rank, told.failure.kind])
        raise told from None
