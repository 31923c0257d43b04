"""Starting several processes on this machine: torch elastic's launcher, called from Python."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Sequence

from trackside.errors import ConfigurationError


def launch(command: Sequence[str], processes: int, *, max_restarts: int = 0) -> int:
    """Run `command` in `processes` processes that form a world; wait for all.

    What `torchrun --standalone --nproc-per-node PROCESSES` does, over the loopback interface. When
    one process fails, the others are ended, and all are started again up to `max_restarts` times.
    Every process finds its place in the environment (`setup.join` reads it).

    Args:
        command: Program and arguments, such as `[sys.executable, "-m", "trackside", ...]`.
        processes: How many, 1 or more.
        max_restarts: How often to start all again after a failure.

    Returns:
        The exit code: 0, or that of the process that failed first (128 plus the signal's number
        for one that was killed), or 128 plus the signal's number when a signal ended this process.

    Raises:
        ConfigurationError: Fewer than one process, or restarts below zero.
    """
    if processes < 1 or max_restarts < 0:
        raise ConfigurationError(
            "can't launch that",
            expected="processes of 1 or more, max_restarts of 0 or more",
            received=f"processes={processes}, max_restarts={max_restarts}",
            option="processes" if processes < 1 else "max_restarts",
        )
    # Here, because every start of a command-line tool would pay for it.
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415

    # As torchrun does, but with the cores shared out instead of one for each.
    threads = max(1, (os.cpu_count() or 1) // processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=max_restarts,
        logs_specs=DefaultLogsSpecs(),
    )
    program, *arguments = command
    try:
        elastic_launch(config, program)(*arguments)
    except ChildFailedError as error:
        sys.stderr.write(f"{error}\n")
        _, first = error.get_first_failure()
        return exit_code(first.exitcode)
    except SignalException as signalled:
        return 128 + signalled.sigval
    return 0


def exit_code(code: int) -> int:
    """A child's exit code as a shell shows it: 137 for one that SIGKILL ended."""
    return 128 + signal.Signals(-code) if code < 0 else code
