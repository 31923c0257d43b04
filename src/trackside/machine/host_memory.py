"""Memory of the host that is still free, as the system says; containers have less."""

from __future__ import annotations

from pathlib import Path

_SYSTEM = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def available_bytes(system: Path = _SYSTEM, group: Path = _GROUP) -> int | None:
    """Bytes that this process may still take; None where the system doesn't say.

    Args:
        system: Linux' list of memory.
        group: Folder of the control group: its limit counts where it has one (version 2).
    """
    try:
        lines = system.read_text().splitlines()
    except OSError:
        return None
    free = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    if free is None:
        return None
    try:
        limit, used = ((group / f"memory.{name}").read_text() for name in ("max", "current"))
    except OSError:
        return int(free) * 1024
    left = int(limit) - int(used) if limit.strip().isdigit() else int(free) * 1024
    return max(min(int(free) * 1024, left), 0)
