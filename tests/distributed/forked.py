"""Ranks in a moment: forked from a process that has imported torch and Trackside already.

A launcher and its ranks import torch again, each of them, for every test. What only a launcher
does (restarts, killed ranks, exit codes) is tested by `torchrun`; claims that ranks make, by these.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

_IMPORTED = (
    "numpy",
    "torchmetrics",
    "torch.distributed.fsdp",
    "trackside.callbacks",
    "trackside.cli.main",
    "trackside.distributed.session",
    "trackside.trainer.trainer",
)


def run_forked(
    command: Sequence[str],
    environment: Mapping[str, str],
    logs: Path,
    ranks: int | None,
    timeout_seconds: float,
) -> list[int | None]:
    """Run a program, with its arguments, on several ranks of this machine.

    Args:
        command: The program's path and its arguments.
        environment: All variables that the ranks see, beside their own.
        logs: Gets a folder for each rank, with `stdout.log` and `stderr.log`.
        ranks: How many; None is one process without a group.
        timeout_seconds: After it those that still run are killed.

    Returns:
        The exit code of each rank, minus the signal's number for one that was killed; None for one
        that ran longer than its timeout.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_IMPORTED))
    port = _free_port()
    processes: list[BaseProcess] = []
    for rank in range(ranks or 1):
        own = dict(environment) | (_rank_variables(rank, ranks, port) if ranks else {})
        folder = logs / str(rank)
        folder.mkdir(parents=True)
        processes.append(context.Process(target=_be_rank, args=(list(command), own, str(folder))))
    for process in processes:
        process.start()
    until = time.monotonic() + timeout_seconds
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        _end(process)
    return codes


def _rank_variables(rank: int, ranks: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _be_rank(command: list[str], environment: dict[str, str], folder: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(Path(folder) / f"{name}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - it is the rank's own
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.argv = command
    sys.path.insert(0, str(Path(command[0]).parent))
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # a process of multiprocessing leaves these out


def _free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _end(process: BaseProcess) -> None:
    """Leave no process behind, whatever the test did."""
    if process.exitcode is None and process.pid is not None:
        family = psutil.Process(process.pid)
        for member in [*family.children(recursive=True), family]:
            member.kill()
    process.join()
