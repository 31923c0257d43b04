"""Waits until it is told to end, and says so."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from trackside.distributed.setup import join, leave

world = join()
told = threading.Event()
signal.signal(signal.SIGTERM, lambda number, frame: told.set())
world.barrier()
print("READY", flush=True)
while not told.wait(0.1):
    pass
(Path(sys.argv[1]) / f"told-{world.rank}").touch()
leave()
sys.exit(143)
