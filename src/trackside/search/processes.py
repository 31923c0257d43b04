"""A sweep in several processes: each takes some of the trials."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import connection, get_context, parent_process

from trackside.errors import TracksideError
from trackside.search.sweep import Sweep
from trackside.search.working import work


def work_in_processes(sweep: Sweep, processes: int, say: Callable[[str], None]) -> None:
    """The same in several processes; they end in order when this one dies.

    Args:
        sweep: What to do.
        processes: How many.
        say: A function of a module: it is called in the processes.

    Raises:
        TracksideError: One ended in an error.
        KeyboardInterrupt: Ctrl-C; each has saved its trial.
    """
    sweep.store()  # made once, before several look for it
    context = get_context("spawn")
    workers = [
        context.Process(target=_work_below, args=(sweep, processes, say), name=f"sweep {number}")
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except BaseException:
        for worker in workers:
            if worker.is_alive() and worker.pid is not None:
                os.kill(worker.pid, signal.SIGTERM)
        for worker in workers:
            worker.join()
        raise
    ended = sorted({f"{one.name}: exit code {one.exitcode}" for one in workers if one.exitcode})
    if ended and not sweep.store().is_over(sweep.trials):
        raise TracksideError(
            "processes of the sweep ended before its trials",
            received=", ".join(ended),
            remedy="the same command goes on with the trials that are left",
        )


def _work_below(sweep: Sweep, processes: int, say: Callable[[str], None]) -> None:
    import torch  # noqa: PLC0415 - in the child

    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    try:
        work(sweep, say)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _end_with_the_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)  # the trial under way is saved
