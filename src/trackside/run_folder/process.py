"""A process as a file can name it, so that another process can tell whether it still lives."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Process:
    """One process on one boot of one machine."""

    pid: int
    host: str
    boot: str
    """Id of the machine's boot; empty where the system has none."""
    start: str
    """When the process began, in ticks since the boot; empty where the system has none."""
    since: str
    """Coordinated universal time, ISO 8601."""
    command: str
    job: str = ""
    """Id of the Slurm job, and how often it was requeued: `4711.1`."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since} ({self.command})"

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this machine."""
        return self.host == socket.gethostname()

    @property
    def is_gone(self) -> bool:
        """Whether it is certain that it lives no more; of another machine, only Slurm knows."""
        if not self.is_here:
            return _is_former_life(self.job)
        if self.boot != _boot() or not _exists(self.pid):
            return True
        return self.start != start_of(self.pid)

    @property
    def is_me(self) -> bool:
        """Whether it is this process."""
        return self.is_here and self.pid == os.getpid() and not self.is_gone

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Any) -> Process:
        """The inverse of `as_dict`. `ValueError` for anything else."""
        fields = cls.__dataclass_fields__
        if not isinstance(content, dict) or not content.keys() <= fields.keys():
            raise ValueError("it does not name a process")
        for name, value in content.items():
            wanted = int if name == "pid" else str
            if type(value) is not wanted:
                raise ValueError(f"{name!r} must be of type {wanted.__name__}")
        try:
            return cls(**content)
        except TypeError as error:
            raise ValueError(f"it does not name a process: {error}") from error


def this_process() -> Process:
    """The present process."""
    return Process(
        pid=os.getpid(),
        host=socket.gethostname(),
        boot=_boot(),
        start=start_of(os.getpid()),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        command=" ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200] if sys.argv else "",
        job=_job(),
    )


def _job() -> str:
    job = os.environ.get("SLURM_JOB_ID", "")
    return f"{job}.{os.environ.get('SLURM_RESTART_COUNT', '0')}" if job else ""


def _is_former_life(job: str) -> bool:
    """Whether `job` is this job before it was requeued: its processes were ended for that."""
    (theirs, _, before), (ours, _, now) = job.partition("."), _job().partition(".")
    return bool(ours) and theirs == ours and before.isdecimal() and int(before) < int(now or 0)


def _boot() -> str:
    return _text("/proc/sys/kernel/random/boot_id")


def start_of(pid: int) -> str:
    """When a process began, in ticks since the boot; empty where the system does not say."""
    # The name of the program stands in brackets and may hold anything; 20 fields follow it.
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # not Linux, or no such process
        return ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives, as another user's
        return True
    except OverflowError:  # not a number that a process can have
        return False
    return True
