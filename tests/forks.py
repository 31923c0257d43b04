"""Processes that are forked from one that has imported torch already: a start takes no seconds."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing import forkserver

import pytest

from tests.conftest import REPOSITORY

FORKS = multiprocessing.get_context("forkserver")
# The modules that children run, and what they would import late.
PRELOADED = [
    "tests.device",
    "torch._dynamo",
    "torch.distributed.checkpoint",
    "trackside.checkpoint.storage",
    "tests.stations",
    "tests.faults.programs.long_run",
    "tests.faults.programs.control_run",
    "tests.faults.programs.kept_run",
]


def start_server() -> None:
    """Start the process that others are forked from, where there is none yet."""
    FORKS.set_forkserver_preload(PRELOADED)
    with pytest.MonkeyPatch.context() as patch:
        # The server of Python 3.11 doesn't take over sys.path, and skips what it can't import.
        patch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)]))
        forkserver.ensure_running()
